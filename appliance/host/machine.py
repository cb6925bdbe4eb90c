"""The machine as the checks see it: files and programs, or a test's twin of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from appliance.hardware.readings import Reading, Status
from appliance.hardware.system import LiveSystem

__all__ = ["FixedMachine", "LiveSystem", "Machine", "Reading", "Status"]


class Machine(Protocol):
    """Files and programs of one machine; nothing here raises, nothing here writes."""

    def text(self, path: str) -> Reading:
        """Read a small file."""
        ...

    def children(self, path: str) -> list[str]:
        """Name what is in a folder, sorted; empty when there is none."""
        ...

    def run(self, command: Sequence[str]) -> Reading:
        """Run a program in the C locale, with a time limit, and return what it printed."""
        ...


@dataclass
class FixedMachine:
    """A machine held in memory: paths to texts, command lines to what they print."""

    files: dict[str, str] = field(default_factory=dict)
    programs: dict[str, str | Reading] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def text(self, path: str) -> Reading:
        """Return a file of the test."""
        text = self.files.get(path)
        return Reading(Status.ABSENT, reason="no such file") if text is None else _ok(text)

    def children(self, path: str) -> list[str]:
        """Name what the test put under a folder."""
        start = path.rstrip("/") + "/"
        return sorted({p[len(start) :].split("/")[0] for p in self.files if p.startswith(start)})

    def run(self, command: Sequence[str]) -> Reading:
        """Return what the test says the program prints."""
        line = " ".join(command)
        self.asked.append(line)
        answer = self.programs.get(line)
        if answer is None:
            return Reading(Status.NO_TOOL, reason=f"{command[0]} is not installed")
        return answer if isinstance(answer, Reading) else _ok(answer)


def _ok(text: str) -> Reading:
    return Reading(Status.OK, text)
