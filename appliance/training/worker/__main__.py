"""Entry point: ``python -m appliance.training.worker --fd N``, with the run folder as cwd."""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import sys
from pathlib import Path

from appliance.training.worker.protocol import JOB_FILE, Channel

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when the agent dies, so that no run is left behind."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def main() -> None:
    """Run the stage that the job file names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    run = Path.cwd()
    job = json.loads((run / JOB_FILE).read_bytes())
    channel = Channel(arguments.fd, run)
    channel.send("note", text="loading the trainer")
    if job["threads"]:
        import torch

        torch.set_num_threads(job["threads"])
    with contextlib.suppress(BrokenPipeError):
        if job["stage"] == "base":
            from appliance.training.worker.base import run_base

            run_base(job, run, channel)
        else:
            from appliance.training.worker.tune import run_tune

            run_tune(job, run, channel)


if __name__ == "__main__":
    main()
