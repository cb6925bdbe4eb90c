"""Running a command and keeping its wall time, processor time and peak memory."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Row:
    """One number: what, how much, the promise, whether it was met (None: no promise)."""

    part: str
    what: str
    value: float
    unit: str
    limit: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of wall clock, of processor time, peak memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    output: str


def run(arguments: list[str], home: Path, cwd: Path | None = None) -> Cost:
    """Run a command in a process of its own; children count. Raises when it fails."""
    program = (
        "import resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:])\n"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "print(f'{used.ru_utime + used.ru_stime} {used.ru_maxrss}', file=sys.stderr)\n"
        "sys.exit(done.returncode)\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**os.environ, "APPLIANCE_HOME": str(home)},
    )
    wall = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    cpu, peak = done.stderr.splitlines()[-1].split()
    return Cost(wall, float(cpu), int(peak) / 1024, done.stdout)


def appliance(*arguments: str) -> list[str]:
    """Return the command line of the appliance."""
    return [sys.executable, "-m", "appliance", *arguments]


def at_most(part: str, what: str, value: float, unit: str, limit: float) -> Row:
    """Return a row whose promise is an upper bound."""
    return Row(part, what, value, unit, f"<= {limit:g}", value <= limit)


def at_least(part: str, what: str, value: float, unit: str, limit: float) -> Row:
    """Return a row whose promise is a lower bound."""
    return Row(part, what, value, unit, f">= {limit:g}", value >= limit)


def table(rows: list[Row]) -> str:
    """Return the rows as a text table."""
    words = {True: "met", False: "MISSED", None: ""}
    lines = [
        f"{r.part:<10} {r.what:<58} {r.value:>14,.3f} {r.unit:<10} {r.limit:<12} {words[r.met]}"
        for r in rows
    ]
    head = f"{'part':<10} {'what':<58} {'value':>14} {'unit':<10} {'promise':<12}"
    return "\n".join([head, "-" * len(head), *lines])


def rows_as_json(rows: list[Row], load: float) -> dict[str, Any]:
    """Return the rows with the state of the machine."""
    return {
        "rows": [asdict(r) for r in rows],
        "cores": os.cpu_count(),
        "load_at_end": round(load, 2),
        "max_rss_of_bench_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
