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
