"""The health check of a version: what can be judged before and after provisioning alike."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click import UsageError
from click.testing import CliRunner, Result

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.bundle.recipe import load_recipe
from appliance.cli.main import cli
from appliance.core.errors import ApplianceError
from appliance.core.home import Home

SYSTEMS = ("debian-12", "debian-13", "ubuntu-24.04-nvidia")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path / "home").prepare()
    yield found
    with contextlib.suppress(ApplianceError):
        sink = connect(found, start=False)
        sink.ask(wire.STOP)
        sink.close()


def health(name: str) -> list[str]:
    """Return the arguments of the doctor that the recipe's health check runs."""
    commands = [c for c in load_recipe(name).lifecycle.health if "doctor" in c]
    assert len(commands) == 1
    return list(commands[0][1:])


def ask(home: Home, *argv: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home.root), *argv], standalone_mode=False)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_first_install_is_judged_by_what_is_there(home: Home, name: str) -> None:
    said = ask(home, *health(name))
    assert said.return_value == 0, said.output
    names = [c["name"] for c in json.loads(said.stdout)["checks"]]
    assert names == ["settings", "home", "audit-writer", "audit-log", "bundle"]


def test_a_version_that_cannot_read_the_settings_is_unhealthy(home: Home) -> None:
    home.settings_file.write_text("[bundle]\nno_such_key = 1\n")
    said = ask(home, *health("debian-12"))
    assert said.return_value == 1
    bad = [c["name"] for c in json.loads(said.stdout)["checks"] if not c["ok"]]
    assert "settings" in bad


def test_a_look_that_does_not_exist_is_wrong_use(home: Home) -> None:
    said = ask(home, "doctor", "--look", "wishes")
    assert isinstance(said.exception, UsageError)
    assert "wishes" in said.exception.message
