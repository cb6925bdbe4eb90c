from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from appliance.core.errors import SettingsInvalidError
from appliance.core.settings import Settings, load_settings


def test_no_file_means_the_defaults(tmp_path: Path) -> None:
    assert load_settings(tmp_path / "none.toml") == Settings()


@pytest.mark.parametrize("text", ["nonsense = 1", "[deid]\nnonsense = 1", "[deid", "audit = 3"])
def test_what_is_not_known_is_fatal_and_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "appliance.toml"
    path.write_text(text)
    with pytest.raises(SettingsInvalidError) as caught:
        load_settings(path)
    assert "appliance.toml" in str(caught.value)


def test_a_file_of_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "appliance.toml"
    path.write_bytes("# é\n".encode("latin-1"))
    with pytest.raises(SettingsInvalidError):
        load_settings(path)


def test_what_the_machine_says_fills_in_and_the_site_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "machine.toml").write_text(
        '[training]\nrunner = "attached"\nmemory_mb = 1024\n[gateway]\nport = 1\n'
    )
    path = tmp_path / "appliance.toml"
    assert load_settings(path).training.runner == "attached"
    path.write_text('[training]\nrunner = "container"\n[host]\nadmin = "someone"\n')
    found = load_settings(path)
    assert (found.training.runner, found.training.memory_mb) == ("container", 1024)
    assert (found.gateway.port, found.host.admin) == (1, "someone")
    path.write_text("training = 3\n")
    with pytest.raises(SettingsInvalidError, match=r"appliance\.toml"):
        load_settings(path)


@pytest.mark.parametrize("text", ["nonsense = 1", "[deid]\nnonsense = 1", "[deid", "audit = 3"])
def test_what_the_machine_says_is_checked_like_the_rest(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine.toml").write_text(text)
    with pytest.raises(SettingsInvalidError, match=r"machine\.toml"):
        load_settings(tmp_path / "appliance.toml")


def test_every_setting_says_its_unit_and_reason() -> None:
    def walk(model: type[BaseModel], where: str) -> list[str]:
        bare = []
        for name, field in model.model_fields.items():
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                bare += walk(kind, f"{where}{name}.")
            elif not field.description:
                bare.append(f"{where}{name}")
        return bare

    assert walk(Settings, "") == []
