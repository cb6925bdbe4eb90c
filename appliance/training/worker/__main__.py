"""Entry point: ``python -m appliance.training.worker``, with the run folder as cwd.

As a child of the agent it is given a pipe (``--fd``) and dies with its parent. In a container
it opens the named pipe of the folder (``--channel``) and dies with its reader. The trainer's
own container takes up one folder after another (``--serve``).
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from appliance.training.worker.protocol import (
    CANCEL_FILE,
    CHANNEL_FILE,
    JOB_FILE,
    LOG_FILE,
    Channel,
    seen_here,
)
from appliance.training.worker.serve import serve

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when the agent dies, so that no run is left behind."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def open_channel(run: Path) -> int:
    """Open the named pipe; say what libraries print in the log; stop when told to."""
    os.umask(0o077)
    fd = os.open(run / CHANNEL_FILE, os.O_WRONLY | os.O_NONBLOCK)  # fails when nobody reads
    os.set_blocking(fd, True)
    log = os.open(run / LOG_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.close(log)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        (run / CANCEL_FILE).touch()  # as `appliance train cancel` does: a checkpoint first

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=die_with_reader, args=(fd,), daemon=True).start()
    return fd


def die_with_reader(fd: int) -> None:
    """End this process when the agent, the pipe's only reader, is gone."""
    poll = select.poll()
    poll.register(fd, 0)  # an error is told unasked
    poll.poll()
    os._exit(128 + signal.SIGPIPE)


def main() -> None:
    """Run the stage that the job file names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--fd", type=int)
    parser.add_argument("--parent", type=int)
    parser.add_argument("--channel", action="store_true")
    parser.add_argument("--serve", type=Path)
    arguments = parser.parse_args()
    if arguments.serve is not None:
        serve(arguments.serve)
        return
    run = Path.cwd()
    if arguments.channel:
        fd = open_channel(run)
    elif arguments.fd is not None and arguments.parent is not None:
        die_with_parent(arguments.parent)
        fd = arguments.fd
    else:
        parser.error("expected --serve, --channel, or --fd and --parent")
    job = seen_here(json.loads((run / JOB_FILE).read_bytes()), run)
    channel = Channel(fd, run)
    channel.send("note", text="loading the trainer")
    if job["threads"]:
        import torch

        torch.set_num_threads(job["threads"])
    with contextlib.suppress(BrokenPipeError):
        if job["stage"] == "convert":
            from appliance.training.worker.convert import run_convert

            run_convert(job, run)
        elif job["stage"] == "base":
            from appliance.training.worker.base import run_base

            run_base(job, run, channel)
        else:
            from appliance.training.worker.tune import run_tune

            run_tune(job, run, channel)


if __name__ == "__main__":
    main()
