"""Time is passed in, so that tests and replays can name it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where a part asks for the time."""

    def now(self) -> datetime:
        """Return the wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall clock, in UTC."""
        return datetime.now(tz=UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


@dataclass
class FixedClock:
    """A clock that stands still until a test moves it."""

    at: datetime
    ticks: float = 0.0

    def now(self) -> datetime:
        """Return the time the test set."""
        return self.at

    def monotonic(self) -> float:
        """Return the seconds the test let pass."""
        return self.ticks

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass on both clocks."""
        self.at += timedelta(seconds=seconds)
        self.ticks += seconds


def rfc3339(moment: datetime) -> str:
    """Write ``moment`` as RFC 3339 in UTC, like ``2026-01-02T03:04:05.000006Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
