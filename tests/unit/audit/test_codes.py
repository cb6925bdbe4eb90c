"""Every action the code can record has a DICOM code of its own family, and a name in the console.

The names are read from the source: every call of a function that takes an ``action``.
"""

from __future__ import annotations

import ast
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.audit import codes
from appliance.audit.codes import TABLE, codes_for
from appliance.audit.export.common import SUBTYPE_NAMES, TYPE_NAMES
from appliance.console.labels import ACTIONS
from appliance.gateway.openai_format import Surface
from appliance.hardware.changes import Kind

STAGES = ("base", "sft", "preference")  # of a training plan
APPLIANCE = Path(codes.__file__).resolve().parents[1]
# Names that are put together at run time: the expression in the source, and what it can become.
DYNAMIC: dict[str, list[str]] = {
    "f'gateway.{job.surface}'": [f"gateway.{s}" for s in typing.get_args(Surface)],
    "f'hardware.{change.kind}'": [f"hardware.{k}" for k in typing.get_args(Kind)],
    "f'train.{plan.stage}'": [f"train.{s}" for s in STAGES],
    "name": ["bundle.install", "bundle.update"],  # Installer.install, by its ``kind``
    "event.action": [],  # HostEvent: its rules are read below
    "asked.action": [],  # an outcome says the name of its intent
}
Function = ast.FunctionDef | ast.AsyncFunctionDef
TREES = {path: ast.parse(path.read_text("utf-8")) for path in sorted(APPLIANCE.rglob("*.py"))}


def constants() -> dict[str, set[str]]:
    """Every module's constants that hold one text."""
    found: dict[str, set[str]] = {}
    for tree in TREES.values():
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(
                node.value, ast.Constant
            ):
                target = node.targets[0] if isinstance(node, ast.Assign) else node.target
                if isinstance(target, ast.Name) and isinstance(node.value.value, str):
                    found.setdefault(f"{target.id}", set()).add(node.value.value)
    return found


def takers() -> dict[str, int]:
    """Functions with a parameter ``action``, and its place among what a caller passes."""
    found = {"say": 0, "partial": 0}
    for tree in TREES.values():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                names = [a.arg for a in node.args.args if a.arg not in {"self", "cls"}]
                if "action" in names:
                    found[node.name] = names.index("action")
    return found


def passed() -> Iterator[tuple[str, ast.expr]]:
    """Every expression that is passed as an action, with its place in the source."""
    places = takers()
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            func = node.func
            name = func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")
            if name not in places or (isinstance(func, ast.Name) and not _is_meant(name, tree)):
                continue
            if name == "say" and path.parent.name != "audit":
                continue  # the writer's own events; elsewhere the word means something else
            where = f"{path.relative_to(APPLIANCE)}:{node.lineno}"
            if name == "partial" and node.args:  # functools.partial(recorder.intent, "...", ...)
                inner = node.args[0]
                if isinstance(inner, ast.Attribute) and inner.attr in places:
                    yield where, node.args[1 + places[inner.attr]]
                continue
            named = [k.value for k in node.keywords if k.arg == "action"]
            if named:
                yield where, named[0]
            elif len(node.args) > places[name]:
                yield where, node.args[places[name]]


def _is_meant(name: str, tree: ast.Module) -> bool:
    """Whether ``name`` alone is a function with an ``action`` here, not a namesake."""
    for node in tree.body:
        if isinstance(node, Function) and node.name == name:
            return any(a.arg == "action" for a in node.args.args)
    imported = (n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom))
    return any(name in {a.asname or a.name for a in n.names} for n in imported)


def host_events() -> Iterator[tuple[str, str]]:
    """The names in ``{"action": "host.login", ...}``: the rules of what the machine says."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Dict):
                for key, value in zip(node.keys, node.values, strict=True):
                    named = isinstance(key, ast.Constant) and key.value == "action"
                    if named and isinstance(value, ast.Constant):
                        yield str(value.value), path.name


def recorded() -> dict[str, str]:
    """Every name of an action, and where it was found."""
    known = constants()
    found: dict[str, str] = {}
    for where, expression in passed():
        branches = [expression]
        if isinstance(expression, ast.IfExp):
            branches = [expression.body, expression.orelse]
        for branch in branches:
            for name in _names(branch, known, where):
                found[name] = where
    found.update(host_events())
    return {name: where for name, where in found.items() if "." in name and "*" not in name}


def _names(expression: ast.expr, known: dict[str, set[str]], where: str) -> set[str]:
    text = ast.unparse(expression)
    if isinstance(expression, ast.Constant):
        return {str(expression.value)}
    if text in DYNAMIC:
        return set(DYNAMIC[text])
    if isinstance(expression, ast.Name) and expression.id.isupper():
        return {v for v in known.get(expression.id, set()) if "." in v}
    if text == "action" or not isinstance(expression, ast.Name | ast.JoinedStr | ast.Attribute):
        return set()  # handed on: its own caller is read instead
    pytest.fail(f"{where}: what {text} can be is not known; name its values in DYNAMIC")


RECORDED = recorded()


def test_the_names_are_found_in_the_source() -> None:
    """The scan sees plain names, constants, branches, helpers, dynamic names and host rules."""
    for name in (
        "gateway.completion",
        "console.view_events",
        "console.sign_off",
        "model.evaluate",
        "audit.prune",
        "audit.shard_closed",
        "host.login",
        "train.sft",
        "users.key_create",
        "console.download",
    ):
        assert name in RECORDED, name
    assert len(RECORDED) > 100


@pytest.mark.parametrize("action", sorted(RECORDED))
def test_every_recorded_action_has_a_code(action: str) -> None:
    prefixes = [action.rsplit(".", n)[0] for n in range(action.count(".") + 1)]
    assert any(prefix in TABLE for prefix in prefixes), f"{action} ({RECORDED[action]})"


@pytest.mark.parametrize("action", sorted(RECORDED))
def test_every_recorded_action_has_a_name_in_the_console(action: str) -> None:
    assert action in ACTIONS, RECORDED[action]


def test_every_code_has_its_name_in_dicom() -> None:
    for action, found in TABLE.items():
        assert found.type in TYPE_NAMES, action
        assert set(found.subtype) <= set(SUBTYPE_NAMES), action


def test_the_longest_prefix_wins() -> None:
    assert codes_for("gateway.completion") == codes_for("gateway.chat")
    assert codes_for("console.view_events").type == codes.AUDIT_LOG_USED
    assert codes_for("console.user_create").subtype == (codes.USERS_CHANGED,)
    assert codes_for("host.firewall.egress_counters") == TABLE["host.firewall"]
    assert codes_for("made.up") == TABLE[""]
