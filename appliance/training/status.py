"""What became of training stages, and how to stop one."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any, Literal

from appliance.core.durable import os_errors, read_json, write_bytes
from appliance.core.errors import ModelUnknownError
from appliance.core.home import Home
from appliance.training.runner import LOCK_FILE
from appliance.training.service import STAGE_FILE
from appliance.training.worker.protocol import CANCEL_FILE, read_metrics

State = Literal["finished", "running", "interrupted"]


def all_stages(home: Home) -> list[dict[str, Any]]:
    """Return what is known of every stage, oldest first."""
    folder = home.runs / "training"
    if not folder.is_dir():
        return []
    found = [_describe(p.parent) for p in folder.glob(f"*/{STAGE_FILE}")]
    return sorted(found, key=lambda s: (str(s["started"]), str(s["run"])))


def _describe(run: Path) -> dict[str, Any]:
    record: dict[str, Any] = read_json(run / STAGE_FILE)
    rows = list(read_metrics(run))
    last = rows[-1] if rows else {}
    return {
        "run": run.name,
        "stage": record["stage"],
        "recipe": record["recipe"],
        "started": record["started"],
        "state": _state(run, record),
        "object": record["object"],
        "step": last.get("step", 0),
        "total": last.get("total"),
        "loss": last.get("loss"),
    }


def _state(run: Path, record: dict[str, Any]) -> State:
    if record["object"] is not None:
        return "finished"
    return "running" if is_held(run / LOCK_FILE) else "interrupted"


def is_held(lock: Path) -> bool:
    """Tell whether a living process holds the lock file (the kernel drops a dead one's lock)."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def cancel(home: Home, name: str | None) -> list[str]:
    """Ask the running stage ``name`` (or every running one) to stop; return whom was asked.

    The trainer writes a checkpoint and leaves; the same training goes on from it later.

    Raises:
        ModelUnknownError: no such run.
    """
    stages = all_stages(home)
    if name is not None and name not in {s["run"] for s in stages}:
        raise ModelUnknownError(
            expected="the name of a training run",
            found=repr(name[:80]),
            remedy="Run `appliance train status`; it names them.",
        )
    asked = [str(s["run"]) for s in stages if s["state"] == "running" and name in {None, s["run"]}]
    for one in asked:
        path = home.runs / "training" / one / CANCEL_FILE
        with os_errors(path):
            write_bytes(path, b"")
    return asked
