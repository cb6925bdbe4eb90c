"""Progress for people, on stderr: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Protocol, TextIO


class Progress(Protocol):
    """What long work tells while it goes on."""

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say that ``done`` of ``total`` units are finished."""
        ...

    def close(self) -> None:
        """Say that the work ended."""
        ...


class NoProgress:
    """Says nothing."""

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        """Say nothing."""

    def close(self) -> None:
        """Say nothing."""


class StderrProgress:
    """One line of progress: redrawn on a terminal, every ``interval`` seconds otherwise."""

    BAR = 24

    def __init__(
        self, label: str, stream: TextIO | None = None, interval: float | None = None
    ) -> None:
        """Show progress of ``label`` on ``stream`` (default: stderr)."""
        self._label = label
        self._stream = stream or sys.stderr
        self._tty = self._stream.isatty()
        self._interval = interval if interval is not None else (0.1 if self._tty else 5.0)
        self._started = time.monotonic()
        self._last = -1e9
        self._drawn = False

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        """Draw the line when it is due."""
        now = time.monotonic()
        final = total is not None and done >= total
        if now - self._last < self._interval and not final:
            return
        self._last = now
        elapsed = now - self._started
        if total:
            share = min(1.0, done / total)
            filled = round(share * self.BAR)
            left = elapsed * (1 - share) / share if share > 0 else 0.0
            bar = "#" * filled + "-" * (self.BAR - filled)
            text = (
                f"{self._label:<18} [{bar}] {share:4.0%} {elapsed:5.0f}s left {left:4.0f}s {note}"
            )
        else:
            text = f"{self._label:<18} {done:g} {elapsed:5.0f}s {note}"
        end = "" if self._tty else "\n"
        start = "\r\x1b[2K" if self._tty else ""
        print(start + text, end=end, file=self._stream, flush=True)
        self._drawn = True

    def close(self) -> None:
        """End the line."""
        if self._tty and self._drawn:
            print(file=self._stream, flush=True)
