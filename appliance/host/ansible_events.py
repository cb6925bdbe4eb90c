"""What Ansible said, event by event, summed up a role at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

_FINISHED = {"runner_on_ok", "runner_on_failed", "runner_on_unreachable", "runner_on_skipped"}
_ITEMS = {"runner_item_on_ok", "runner_item_on_failed"}
_MESSAGE = 1200
OUTSIDE = "(play)"


@dataclass(frozen=True)
class Change:
    """One task that changed something, or would."""

    task: str
    host: str
    target: str
    lines_out: int = 0
    lines_in: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Failure:
    """One task that failed and was not rescued."""

    role: str
    task: str
    host: str
    message: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(self.__dict__)


@dataclass
class RoleTally:
    """One role of a run."""

    name: str
    tasks: int = 0
    skipped: int = 0
    changes: list[Change] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "role": self.name,
            "tasks": self.tasks,
            "skipped": self.skipped,
            "changed": len(self.changes),
            "changes": [change.to_dict() for change in self.changes],
            "failures": [failure.to_dict() for failure in self.failures],
        }


@dataclass
class Tally:
    """A whole run: its roles in the order they came."""

    roles: dict[str, RoleTally] = field(default_factory=dict)
    task: str = ""
    said: str = ""  # Ansible's own last error, of a playbook that could not even begin

    def add(self, event: dict[str, Any]) -> str | None:
        """Take in one event of ansible-runner; return the role it belongs to, if to any."""
        kind, data = event.get("event", ""), event.get("event_data") or {}
        role = str(data.get("role") or OUTSIDE)
        if kind in {"verbose", "error"} and "[ERROR]" in (text := str(event.get("stdout", ""))):
            self.said = " ".join(text.split())[:_MESSAGE]
        if kind == "playbook_on_task_start":
            self.task = str(data.get("task", ""))
            return role
        if kind not in _FINISHED:
            return None
        one = self.roles.setdefault(role, RoleTally(role))
        result = data.get("res") or {}
        one.tasks += 1
        one.skipped += kind == "runner_on_skipped"
        if kind == "runner_on_ok" and result.get("changed") and data.get("task_action") != "meta":
            one.changes += _changes(data, result)
        if kind in {"runner_on_failed", "runner_on_unreachable"} and not data.get("ignore_errors"):
            one.failures.append(
                Failure(role, str(data.get("task")), str(data.get("host")), _message(result))
            )
        return role

    @property
    def changed(self) -> int:
        """Tasks that changed something."""
        return sum(len(role.changes) for role in self.roles.values())

    @property
    def failures(self) -> list[Failure]:
        """What failed, in order."""
        return [failure for role in self.roles.values() for failure in role.failures]


def _changes(data: dict[str, Any], result: dict[str, Any]) -> list[Change]:
    """Return one change a thing the task changed: one for each item of a loop."""
    items = [r for r in result.get("results", []) if isinstance(r, dict) and r.get("changed")]
    return [
        Change(str(data.get("task")), str(data.get("host")), *_what(one))
        for one in items or [result]
    ]


def _what(result: dict[str, Any]) -> tuple[str, int, int]:
    """Return what was changed and by how many lines; its content is not repeated."""
    diffs = result.get("diff") or []
    first = diffs[0] if isinstance(diffs, list) and diffs else diffs
    first = first if isinstance(first, dict) else {}
    item = result.get("item")
    named = (
        result.get("dest")
        or result.get("path")
        or result.get("name")
        or first.get("after_header")
        or (item if isinstance(item, str) else "")
    )
    before, after = (_lines(first.get(key)) for key in ("before", "after"))
    gone, come = len(before - after), len(after - before)
    return str(named)[:200], gone, come


def _lines(value: Any) -> set[str]:
    return set(value.splitlines()) if isinstance(value, str) else set()


def _message(result: dict[str, Any]) -> str:
    text = result.get("msg") or result.get("stderr") or result.get("censored") or "no word"
    failed = [r for r in result.get("results", []) if isinstance(r, dict) and r.get("failed")]
    if failed and failed[0].get("msg"):
        text = failed[0]["msg"]
    return " ".join(str(text).split())[:_MESSAGE]
