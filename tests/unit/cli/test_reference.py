from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from appliance.cli.reference import PAGES

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "reference"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a fresh process: click keeps what earlier tests made of a command."""
    folder = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-m", "appliance.cli.reference", str(folder)]
    subprocess.run(command, check=True, timeout=120)
    return folder


@pytest.mark.parametrize("name", sorted(PAGES))
def test_the_reference_page_is_what_the_program_says(made: Path, name: str) -> None:
    written = (FOLDER / name).read_text(encoding="utf-8")
    assert written == (made / name).read_text(encoding="utf-8"), "run ./run docs"
