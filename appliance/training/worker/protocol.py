"""How worker and agent speak: exit codes, JSON lines on a pipe, a metrics file that survives both.

This module imports the standard library only; both sides import it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JOB_FILE = "job.json"
METRICS_FILE = "metrics.jsonl"
RESULT_FILE = "result.json"
CANCEL_FILE = "cancel"
OUTPUT_FOLDER = "output"
CHECKPOINTS = "checkpoints"
EXIT_FILE = "exit.json"  # the worker's exit code, from the container that took the folder up
LOG_FILE = "worker.log"
CHANNEL_FILE = "channel"  # the named pipe of a worker in a container
HOME = "home"  # in a job: what the agent calls the folder with all state
HOME_DEPTH = 2  # HOME/runs/training/RUN

EXIT_FINE = 0
EXIT_CANCELLED = 3
EXIT_TOO_LONG = 4
EXIT_DIVERGED = 5
EXIT_TEMPLATE = 6


@dataclass
class Channel:
    """The worker's end of the pipe, and the metrics file beside it."""

    fd: int
    run: Path

    def send(self, kind: str, **values: Any) -> None:
        """Write one JSON line; a broken pipe ends the worker, for nobody listens any more."""
        line = json.dumps({"kind": kind, **values}, allow_nan=False, sort_keys=True) + "\n"
        os.write(self.fd, line.encode())

    def metrics(self, step: int, total: int, **values: float) -> None:
        """Append one step to the metrics file and tell the agent."""
        row = {"step": step, "total": total, **{k: v for k, v in values.items() if v == v}}  # noqa: PLR0124 - NaN is not equal to itself, and not JSON
        with (self.run / METRICS_FILE).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row, sort_keys=True) + "\n")
        self.send("step", **row)

    def cancelled(self) -> bool:
        """Tell whether somebody asked this run to stop."""
        return (self.run / CANCEL_FILE).exists()


def seen_here(job: dict[str, Any], run: Path) -> dict[str, Any]:
    """Return ``job`` with the paths of the agent's home as they are in this container.

    An agent on the host has the same folders under another name; ``home`` is what it calls it.
    """
    there = job.get(HOME)
    if there is None:
        return job
    here = str(run.parents[HOME_DEPTH])

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(one) for one in value]
        if isinstance(value, str) and value.startswith(f"{there}/"):
            return here + value[len(there) :]
        return value

    return {key: moved(value) for key, value in job.items() if key != HOME}


def read_metrics(run: Path) -> Iterator[dict[str, float]]:
    """Yield the whole lines of the metrics file; a line cut by a crash ends it."""
    path = run / METRICS_FILE
    if not path.is_file():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            return
        yield row


def trim_metrics(run: Path, last_step: int) -> None:
    """Forget the steps after ``last_step``: they are about to be done again."""
    rows = [row for row in read_metrics(run) if row["step"] <= last_step]
    temp = run / f"{METRICS_FILE}.new"
    with temp.open("w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, sort_keys=True) + "\n" for row in rows)
        stream.flush()
        os.fsync(stream.fileno())
    temp.replace(run / METRICS_FILE)


def note_exit(run: Path, pipe: int, code: int) -> None:
    """Note how the worker of the pipe with this inode number ended."""
    temp = run / f"{EXIT_FILE}.new"
    temp.write_text(json.dumps({"code": code, "pipe": pipe}), encoding="ascii")
    temp.replace(run / EXIT_FILE)


def read_exit(run: Path, pipe: int) -> int | None:
    """Return how the worker of this pipe ended.

    One that ends late, when its folder is offered again, still holds its own pipe: so the numbers
    differ. (What ended before was removed; a number that is free again may come back.)
    """
    try:
        value = json.loads((run / EXIT_FILE).read_bytes())
    except FileNotFoundError:
        return None
    return int(value["code"]) if value["pipe"] == pipe else None
