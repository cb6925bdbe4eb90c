"""A worker that runs: as a child of the agent, or in another container that takes up its folder.

The runner sees no difference, nor to the container that the agent starts itself.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

from appliance.core.durable import os_errors
from appliance.training.worker import protocol

PRIVATE = 0o077  # umask: samples are de-identified, and still nobody else's business
MODULE = "appliance.training.worker"


class Running(Protocol):
    """One worker."""

    reader: int  # the file descriptor its messages come from

    def describe(self) -> dict[str, Any]:
        """Return what the pid file says."""
        ...

    def ended(self) -> bool:
        """Say whether it has ended."""
        ...

    def kill(self) -> None:
        """End it now."""
        ...

    def wait(self, seconds: float) -> int:
        """Return its exit code (negative: the signal); kill it after ``seconds``."""
        ...

    def close(self) -> None:
        """Free what it held."""
        ...


def open_pipe(run: Path) -> int:
    """Make the named pipe of a run's folder anew and return its reading end.

    It is opened before the worker opens it, so that the worker finds a reader.
    """
    pipe = run / protocol.CHANNEL_FILE
    with os_errors(pipe):
        pipe.unlink(missing_ok=True)
        (run / protocol.EXIT_FILE).unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
        return os.open(pipe, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


class Child:
    """A worker that is a child of this process and dies with it."""

    def __init__(self, run: Path, python: Path, environment: dict[str, str]) -> None:
        """Start the worker in ``run``."""
        self.reader, writer = os.pipe()
        command = [str(python), "-m", MODULE]
        command += ["--fd", str(writer), "--parent", str(os.getpid())]
        try:
            with os_errors(run), (run / protocol.LOG_FILE).open("ab") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=run,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writer,),
                    umask=PRIVATE,
                )
        except BaseException:
            self.close()
            raise
        finally:
            os.close(writer)

    def describe(self) -> dict[str, Any]:
        """Return the process id."""
        return {"pid": self._process.pid}

    def ended(self) -> bool:
        """Say whether the process has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()

    def wait(self, seconds: float) -> int:
        """Return the exit code; kill the process after ``seconds``."""
        try:
            return self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def close(self) -> None:
        """Close this end of the pipe: the worker's next word ends it."""
        with contextlib.suppress(OSError):
            os.close(self.reader)


class Attached:
    """A worker in the trainer's own container, which takes up a folder whose pipe has a reader.

    The agent has no right to the container engine: closing the pipe is how it ends the worker.
    """

    def __init__(self, run: Path) -> None:
        """Offer the folder."""
        with os_errors(run):
            (run / "cache").mkdir(exist_ok=True)
        self._run = run
        self._killed = False
        self.reader = open_pipe(run)
        self._pipe = os.fstat(self.reader).st_ino

    def describe(self) -> dict[str, Any]:
        """Say that the process is elsewhere."""
        return {"attached": True}

    def ended(self) -> bool:
        """Say whether the worker has ended, or was told to."""
        return self._killed or protocol.read_exit(self._run, self._pipe) is not None

    def kill(self) -> None:
        """Close the pipe: the worker sees it at once and ends."""
        self._killed = True
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        os.dup2(nothing, self.reader, inheritable=False)
        os.close(nothing)

    def wait(self, seconds: float) -> int:
        """Return the exit code that the trainer's container notes; it does so even when killed."""
        deadline = time.monotonic() + seconds
        while (code := protocol.read_exit(self._run, self._pipe)) is None:
            if time.monotonic() > deadline:
                return -signal.SIGKILL
            time.sleep(0.05)
        return code

    def close(self) -> None:
        """Close the pipe."""
        os.close(self.reader)
