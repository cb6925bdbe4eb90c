from __future__ import annotations

import ast
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CONTROLS: list[dict[str, Any]] = yaml.safe_load(
    (ROOT / "security" / "controls.yaml").read_text(encoding="utf-8")
)["controls"]
FRAMEWORKS = ("lgpd", "hipaa", "sbis", "iso27789")


@cache
def _tests(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
    )


def missing(names: list[str], root: Path) -> list[str]:
    """Return the tests that are not there."""
    found = []
    for name in names:
        path, _, function = name.partition("::")
        file = root / path
        if not (file.is_file() and path.startswith("tests/") and function in _tests(file)):
            found.append(name)
    return found


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: str(control["id"]))
def test_every_named_test_exists(control: dict[str, Any]) -> None:
    assert control["tests"]
    assert missing(control["tests"], ROOT) == []


def test_a_test_that_is_not_there_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    file = tmp_path / "tests" / "test_it.py"
    file.write_text("def test_here() -> None: ...\n# def test_gone()\n", encoding="utf-8")
    names = ["tests/test_it.py::test_here", "tests/test_it.py::test_gone", "tests/no.py::test_x"]
    assert missing(names, tmp_path) == names[1:]


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: str(control["id"]))
def test_every_control_says_what_it_answers(control: dict[str, Any]) -> None:
    assert control.keys() == {"id", "control", "tests", *FRAMEWORKS}
    assert control["lgpd"] and control["hipaa"] and control["sbis"]
    assert all(entry.startswith("art. ") for entry in control["lgpd"])
    assert all(entry.startswith("164.") for entry in control["hipaa"])
    assert all(entry.startswith(("NGS1", "NGS2")) for entry in control["sbis"])


def test_every_framework_and_both_levels_are_answered_and_no_control_stands_twice() -> None:
    for framework in FRAMEWORKS:
        assert any(control[framework] for control in CONTROLS)
    levels = {entry[:4] for control in CONTROLS for entry in control["sbis"]}
    assert levels == {"NGS1", "NGS2"}
    ids = [control["id"] for control in CONTROLS]
    assert len(set(ids)) == len(ids)
