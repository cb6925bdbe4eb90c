"""What a probe brought back: raw text, or why there is none.

Judging starts from readings only, so a recording judged elsewhere gives the same answer.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class Status(StrEnum):
    """How a probe ended. Only ``OK`` and ``ABSENT`` are knowledge; the rest is not knowing."""

    OK = "ok"
    ABSENT = "absent"  # the machine does not have it
    DENIED = "denied"  # root would be told
    NO_TOOL = "no-tool"  # the program that would tell is not installed
    TIMEOUT = "timeout"  # it did not answer in time
    FAILED = "failed"  # it answered with an error
    NOT_RECORDED = "not-recorded"  # half a recording


@dataclass(frozen=True, slots=True)
class Reading:
    """One probe's answer: ``text`` when ``status`` is OK, ``reason`` otherwise."""

    status: Status
    text: str = ""
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether there is text to read."""
        return self.status is Status.OK

    def json(self) -> Any:
        """Return the parsed JSON, or None when there is none or it is garbage."""
        if not self.ok:
            return None
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None


NOT_RECORDED = Reading(Status.NOT_RECORDED, reason="not in the recording")


class Probes(Protocol):
    """Where readings come from: the machine, a recording, or a test."""

    def read(self, name: str) -> Reading:
        """Return the reading called ``name``; never raises, an unknown name is not recorded."""
        ...

    def names(self) -> list[str]:
        """Return the names of the readings there are."""
        ...


@dataclass(frozen=True)
class FixedProbes:
    """Readings held in memory: a finished collection, a recording, or a test's machine."""

    readings: dict[str, Reading]

    def read(self, name: str) -> Reading:
        """Return the reading called ``name``."""
        return self.readings.get(name, NOT_RECORDED)

    def names(self) -> list[str]:
        """Return the names of the readings there are."""
        return sorted(self.readings)
