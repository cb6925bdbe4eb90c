from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.core.errors import WeightsRefusedError
from appliance.core.settings.registry import RegistrySettings
from appliance.registry.safetensors import read_config, read_header
from appliance.registry.template import folder_template, pin_template

LIMITS = RegistrySettings()


def test_a_sound_header_gives_the_shapes(tmp_path: Path, artefacts: Any) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(artefacts.safetensors_bytes())
    assert read_header(path, LIMITS) == {"w": (2, 2)}


def entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]} | changes}


@pytest.mark.parametrize(
    "data",
    [
        {"header": b"{"},
        {"header": b"[]"},
        {"header": {}},
        {"header": {"__metadata__": {}}},
        {"header": {"w": 1}},
        {"header": entry(dtype="PICKLE")},
        {"header": entry(shape=[2, 3])},
        {"header": entry(data_offsets=[0, 17])},
        {"header": entry(data_offsets=[-16, 0])},
        {"header": entry(shape="no")},
        {"length": 2**62},
        {"length": 0},
        {"data": bytes(4)},
    ],
)
def test_absurd_headers_are_refused(tmp_path: Path, artefacts: Any, data: dict[str, Any]) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(artefacts.safetensors_bytes(**data))
    with pytest.raises(WeightsRefusedError):
        read_header(path, LIMITS)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"")
    with pytest.raises(WeightsRefusedError):
        read_header(tmp_path / "m.safetensors", LIMITS)


@pytest.mark.parametrize(
    "changes",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"architectures": []},
        {"vocab_size": -1},
        {"hidden_size": 10**9},
        {"num_hidden_layers": "many"},
    ],
)
def test_a_configuration_that_asks_too_much_is_refused(
    tmp_path: Path, artefacts: Any, changes: dict[str, Any]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(artefacts.config(**changes)))
    with pytest.raises(WeightsRefusedError):
        read_config(path)


@pytest.mark.parametrize(
    "template",
    [
        None,
        "",
        "x" * 70_000,
        "{{ ''.__class__.__mro__ }}",
        "{{ messages | attr('pop') }}",
        "{%- import 'os' as os %}",
        "{% include 'x' %}",
    ],
)
def test_a_template_that_could_do_more_than_lay_out_is_refused(template: str | None) -> None:
    with pytest.raises(WeightsRefusedError):
        pin_template(template, LIMITS)


def test_an_important_word_is_no_attack() -> None:
    assert len(pin_template("{{ messages[0]['content'] }} important", LIMITS)) == 64


def test_the_template_file_wins_over_the_tokenizer_configuration(
    tmp_path: Path, artefacts: Any
) -> None:
    folder = artefacts.hf_folder(tmp_path / "m")
    assert folder_template(folder) == artefacts.TEMPLATE
    (folder / "chat_template.jinja").write_text("own")
    assert folder_template(folder) == "own"
