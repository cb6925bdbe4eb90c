from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from appliance.cli import common, main
from appliance.core.errors import ApplianceError, BusyError


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "appliance", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_lists_the_groups_and_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from appliance.cli.main import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'pydantic', 'fastapi', 'llama_cpp', 'cryptography', 'rich', 'numpy', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "hardware" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_an_unknown_command_is_wrong_use() -> None:
    done = _run("nonsense")
    assert done.returncode == 2
    assert "No such command" in done.stderr


def test_the_version_is_the_packages() -> None:
    assert _run("--version").stdout.strip().endswith("0.1.0")


def test_a_known_error_says_what_to_do_and_has_its_own_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = common.report_error(BusyError(expected="one run", found="two"), as_json=True)
    out = capsys.readouterr()
    assert code == BusyError.exit_code
    assert json.loads(out.out)["error"]["id"] == "busy"
    assert "to do:" in out.err


def test_an_unforeseen_error_shows_neither_text_nor_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code = common.report_error(ValueError("patient text"), as_json=False)
    out = capsys.readouterr()
    assert code == ApplianceError.exit_code
    assert "patient text" not in out.err
    assert "Traceback" not in out.err
    assert "ValueError" in out.err


def test_a_read_only_home_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = _run("--home", str(tmp_path / "file" / "home"), "pipeline", "status")
    assert done.returncode == 5
    assert "home-unusable" in done.stderr


def test_every_command_named_in_help_can_be_imported() -> None:
    context = click.Context(main.cli, info_name="appliance")
    for name in main.cli.list_commands(context):
        assert main.cli.get_command(context, name) is not None
