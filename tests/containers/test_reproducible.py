"""Two builds of the same inputs are the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliance.bundle.images.build import Builder, Options
from tests.containers.container_support import CACHE, RECIPES

pytestmark = pytest.mark.containers


@pytest.mark.parametrize("name", ["base", "gateway"])
def test_a_second_build_has_the_same_digests(
    built: dict[str, dict[str, Any]], agent: Path, tmp_path: Path, name: str
) -> None:
    options = Options(RECIPES, CACHE, tmp_path, remake_layers=True, agent=agent)
    again = Builder(options).build(name)
    assert again["layers"] == built[name]["layers"]
    assert again["image_id"] == built[name]["image_id"]
    assert again["archive"] == built[name]["archive"]


def test_another_time_is_another_image(
    built: dict[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    other = Builder(Options(RECIPES, CACHE, tmp_path)).build("base")
    assert other["image_id"] != built["base"]["image_id"]
    assert other["layers"][0]["unpacked"] == built["base"]["layers"][0]["unpacked"]
