"""The last verification of the log: run in a process of its own, kept in a small file.

Reading a million entries keeps an interpreter busy for half a minute; in a process of its own it
does not hold up anybody's page.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from appliance.console.store import console_folder
from appliance.core.clock import Clock
from appliance.core.durable import read_json, write_json
from appliance.core.errors import ApplianceError, ToolFailedError
from appliance.core.home import Home

PROBLEMS_SHOWN: Final = 20  # a page is for people; the command lists them all


@dataclass(frozen=True)
class Verification:
    """What a verification said, and when."""

    at: str
    ok: bool
    size: int
    seconds: float
    problems: tuple[tuple[str, str, str], ...]  # kind, place, what; English, as verify says it

    def age_hours(self, now: datetime) -> float:
        """Return how old the word is."""
        return (now - datetime.fromisoformat(self.at)).total_seconds() / 3600


Run = Callable[[], dict[str, Any]]


class Verifier:
    """Starts verifications, at most one at a time, and remembers the last."""

    def __init__(self, home: Home, clock: Clock, run: Run) -> None:
        self.path = console_folder(home) / "verification.json"
        self.clock = clock
        self._run = run
        self._lock = threading.Lock()
        self.failure: str | None = None

    @property
    def running(self) -> bool:
        """True while one is under way."""
        return self._lock.locked()

    def last(self) -> Verification | None:
        """Return the last verification."""
        if not self.path.exists():
            return None
        kept = read_json(self.path)
        return Verification(**{**kept, "problems": tuple(map(tuple, kept["problems"]))})

    def start(self, done: Callable[[Verification | None], None]) -> bool:
        """Start one unless one runs; ``done`` hears what came of it (None: it broke off)."""
        if not self._lock.acquire(blocking=False):
            return False
        threading.Thread(target=self._work, args=(done,), name="verification").start()
        return True

    def _work(self, done: Callable[[Verification | None], None]) -> None:
        made: Verification | None = None
        self.failure = None
        try:
            made = self._keep(self._run())
        except ApplianceError as error:
            self.failure = error.id
        finally:
            try:
                done(made)
            finally:
                self._lock.release()

    def _keep(self, report: dict[str, Any]) -> Verification:
        shown = report["problems"][:PROBLEMS_SHOWN]
        problems = tuple((p["name"], p["place"], p["what"]) for p in shown)
        made = Verification(
            self.clock.now().isoformat(),
            bool(report["ok"]),
            int(report["entries"]),
            float(report["seconds"]),
            problems,
        )
        write_json(self.path, {**made.__dict__, "problems": list(problems)})
        return made


def run_process(home: Home, timeout_s: float) -> dict[str, Any]:
    """Run this module as a process on ``home`` and return its report."""
    command = [sys.executable, "-m", "appliance.console.verification", str(home.root)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=timeout_s, check=False)
        report: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError, OSError) as error:
        raise ToolFailedError(
            expected="a report of the verification", found=type(error).__name__
        ) from error
    return report


def main(root: str) -> int:
    """Verify a home and print the report as JSON."""
    import time

    from appliance.audit.officer import book_of, let_sign, logs_of
    from appliance.audit.verify import Options, verify_home

    home = Home(Path(root))
    let_sign(home)
    book = book_of(home)
    kept = [
        seen.note.encode()
        for shard in logs_of(home)
        for seen in (book.last(shard.verifier, w) for w in book.policy().witnesses)
        if seen.note is not None
    ]
    began = time.monotonic()
    report = verify_home(home.audit, Options(kept=kept))
    seconds = time.monotonic() - began
    print(json.dumps({**report.to_dict(), "seconds": seconds}))  # noqa: T201 - this process's answer
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
