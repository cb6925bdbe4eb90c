from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel

from appliance.core.errors import SettingsInvalidError
from appliance.core.errors.host import AlreadyConfiguredError
from appliance.core.home import Home
from appliance.core.settings import Settings, load_settings
from appliance.host.firstconfig import render, write_first


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


def test_the_first_file_says_what_the_defaults_are(home: Home) -> None:
    write_first(home, {})
    assert load_settings(home.settings_file) == Settings()


def test_every_comment_taken_away_is_a_valid_value() -> None:
    kept = []
    for line in render().splitlines():
        words = line.removeprefix("# ").split(" = ")
        setting = line.startswith("# ") and len(words) > 1 and words[0].isidentifier()
        kept.append(line.removeprefix("# ") if setting else line)
    value = tomllib.loads("\n".join(line for line in kept if not line.startswith("#")))
    assert Settings.model_validate(value) == Settings()


def test_every_key_of_every_table_is_there() -> None:
    text = render()
    for name, field in Settings.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        assert f"[{name}]" in text
        table = text.split(f"\n[{name}]")[1]
        assert [key for key in section.model_fields if key not in table] == []


def test_given_values_are_set(home: Home) -> None:
    keys = ['ssh-ed25519 AAAA "quoted" \\ name']
    write_first(home, {"host": {"timezone": "UTC", "admin_keys": keys}})
    found = load_settings(home.settings_file).host
    assert found.timezone == "UTC"
    assert list(found.admin_keys) == keys
    assert home.settings_file.stat().st_mode & 0o007 == 0


def test_what_is_there_is_never_overwritten(home: Home) -> None:
    home.settings_file.write_text("# mine\n", encoding="utf-8")
    with pytest.raises(AlreadyConfiguredError):
        write_first(home, {})
    assert home.settings_file.read_text(encoding="utf-8") == "# mine\n"


def test_a_value_that_is_not_allowed_leaves_nothing(home: Home) -> None:
    with pytest.raises(SettingsInvalidError):
        write_first(home, {"host": {"admin": "Not An Account"}})
    assert not home.settings_file.exists()
    assert [p.name for p in home.root.iterdir() if "toml" in p.name] == []


def test_lists_and_strings_are_written_on_one_line() -> None:
    text = render({"host": {"admin_keys": ["a", "b"], "timezone": "UTC"}})
    assert json.dumps(["a", "b"]) in text
