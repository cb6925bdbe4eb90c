"""The writer's two threads: one makes groups durable, one keeps the tile folder.

Both release the interpreter while the disk works. What they finish comes back through
``results`` and a byte in the wake pipe, so that the log itself stays on one thread.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.durable import from_os_error
from appliance.core.errors import (
    ApplianceError,
    AuditFullError,
    AuditUnavailableError,
    DiskFullError,
)

RETRY_S = 0.25  # how often a tile that found no space is tried again


@dataclass(frozen=True)
class Result:
    """What became of a job: its name, what it was about, what it returned or raised."""

    job: str
    about: Any
    value: Any = None
    error: Exception | None = None


class Worker(threading.Thread):
    """Runs jobs in order.

    With ``retry`` a job that finds the disk full is tried again, and after any other failure no
    later job runs: a checkpoint must not stand over tiles that were not written.
    """

    def __init__(
        self, name: str, results: deque[Result], wake: Callable[[], None], *, retry: bool
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._jobs: queue.SimpleQueue[tuple[str, Any, Callable[[], Any]] | None] = (
            queue.SimpleQueue()
        )
        self._results = results
        self._wake = wake
        self._retry = retry
        self.full = False
        self.giving_up = False
        self._failed: Exception | None = None
        self.waiting = 0  # jobs handed over whose result was not taken back

    def put(self, job: str, about: Any, work: Callable[[], Any]) -> None:
        """Hand over a job."""
        self.waiting += 1
        self._jobs.put((job, about, work))

    def end(self) -> None:
        """Let the thread end after what it has."""
        self._jobs.put(None)

    def run(self) -> None:
        """Do the jobs."""
        while (item := self._jobs.get()) is not None:
            job, about, work = item
            self._results.append(self._do(job, about, work))
            self._wake()

    def _do(self, job: str, about: Any, work: Callable[[], Any]) -> Result:
        while True:
            if self._failed is not None:
                return Result(job, about, error=self._failed)
            try:
                value = work()
            except Exception as error:  # noqa: BLE001 - the thread that serves peers decides
                known = _known(error)
                if self._retry and isinstance(known, DiskFullError) and not self.giving_up:
                    self.full = True
                    time.sleep(RETRY_S)
                    continue
                if self._retry:
                    self._failed = known
                return Result(job, about, error=known)
            self.full = False
            return Result(job, about, value)


def _known(error: Exception) -> Exception:
    if isinstance(error, OSError) and not isinstance(error, ApplianceError):
        return from_os_error(error, Path(str(error.filename or "the audit folder")))
    return error


def disk_full(error: Exception | None) -> bool:
    """Tell whether ``error`` says that there is no space."""
    return isinstance(error, (AuditFullError, DiskFullError))


def resident_bytes() -> int:
    """Return the memory of this process."""
    pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def refusal_of(error: Exception) -> ApplianceError:
    """Return what a peer is told about ``error``."""
    if isinstance(error, ApplianceError):
        return error
    return AuditUnavailableError(expected="a durable entry", found=type(error).__name__)
