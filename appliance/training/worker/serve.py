"""The trainer's own container: takes up the runs that an agent elsewhere offers in its folder.

An agent that waits holds the reading end of the named pipe in its run's folder: only then can the
writing end be opened without waiting. So a folder is offered exactly while its agent lives, and
nothing has to be cleaned up after one that died.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from appliance.training.worker.protocol import CHANNEL_FILE, JOB_FILE, note_exit, read_exit

POLL_S = 0.3


class _Stop(BaseException):
    """The container is to end."""


def serve(runs: Path) -> None:
    """Run the offered folders of ``runs`` one after another, until SIGTERM."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise _Stop

    signal.signal(signal.SIGTERM, stop)
    os.umask(0o077)
    try:
        while True:
            for pipe in sorted(runs.glob(f"*/{CHANNEL_FILE}")):
                held = _take(pipe)
                if held is not None:
                    _work(pipe.parent, held)
            time.sleep(POLL_S)
    except _Stop:
        return


def _take(pipe: Path) -> int | None:
    """Return the writing end of a pipe that somebody reads."""
    try:
        fd = os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ENOENT, errno.ELOOP}:
            return None
        raise
    found = os.fstat(fd)
    if stat.S_ISFIFO(found.st_mode) and read_exit(pipe.parent, found.st_ino) is None:
        return fd
    os.close(fd)
    return None


def _work(run: Path, held: int) -> None:
    """Run one worker to its end and note how it ended; the pipe stays open until then."""
    command = [*sys.orig_argv[:-2], "--channel"]  # in place of --serve RUNS
    worker = subprocess.Popen(command, cwd=run, env={**os.environ, **_environment(run)})
    pipe = os.fstat(held).st_ino
    try:
        note_exit(run, pipe, worker.wait())
    except _Stop:
        worker.send_signal(signal.SIGTERM)  # a checkpoint first
        note_exit(run, pipe, worker.wait())
        raise
    finally:
        os.close(held)


def _environment(run: Path) -> dict[str, str]:
    cache = str(run / "cache")
    seed = json.loads((run / JOB_FILE).read_bytes())["seed"]
    return {
        **dict.fromkeys(("HOME", "XDG_CACHE_HOME", "HF_HOME", "TMPDIR"), cache),
        "PYTHONHASHSEED": str(seed % 2**32),
    }
