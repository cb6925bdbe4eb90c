"""The trainer's real entry point with a stage that needs no torch, for the tests of containers.

Everything around the stage is the product's: the pipe, the log, the stop, the death with the
agent. The stage counts to ``job["part"]["steps"]``, keeps a checkpoint a step, and says in its
result what it found around it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from appliance.training.worker import __main__ as entry
from appliance.training.worker.protocol import EXIT_CANCELLED, Channel


def status() -> dict[str, str]:
    """Return the kernel's words about this process."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def refused(path: str) -> bool:
    """Say whether a file cannot be made."""
    try:
        Path(path).write_bytes(b"x")
    except OSError:
        return True
    return False


def around(job: dict[str, Any]) -> dict[str, Any]:
    """Return what this container may do and see."""
    words = status()
    return {
        "uid": os.getuid(),
        "capabilities": int(words["CapEff"], 16) | int(words["CapBnd"], 16),
        "no_new_privileges": words["NoNewPrivs"] == "1",
        "seccomp": words["Seccomp"] == "2",
        "interfaces": [name for _, name in socket.if_nameindex()],
        "root_read_only": refused("/usr/x") and refused("/x"),
        "base_read_only": refused(f"{job['base']}/x"),
        "base": Path(job["base"], "weights").read_text(encoding="ascii"),
        "others": sorted(p.name for p in Path.cwd().parent.iterdir()),
        "environment": sorted(os.environ),
    }


def run_base(job: dict[str, Any], run: Path, channel: Channel) -> None:
    """Count, from the checkpoint on."""
    steps, kept = int(job["part"]["steps"]), run / "checkpoint"
    began = int(kept.read_text(encoding="ascii")) if kept.is_file() else 0
    for step in range(began + 1, steps + 1):
        channel.metrics(step, steps, loss=1 / step)
        kept.write_text(str(step), encoding="ascii")
        if channel.cancelled():
            channel.send("stopped", code=EXIT_CANCELLED, why="cancelled")
            sys.exit(EXIT_CANCELLED)
        time.sleep(job["part"]["seconds"])
        bytearray(int(job["part"].get("bytes", 0)))
    value = {"began": began, "steps": steps, "around": around(job)}
    (run / "result.json").write_text(json.dumps(value), encoding="ascii")


stage = ModuleType("appliance.training.worker.base")
stage.__dict__["run_base"] = run_base
sys.modules[stage.__name__] = stage
entry.main()
