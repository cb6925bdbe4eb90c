"""A worker that runs: as a child of the agent, or in a container. The runner sees no difference."""

from __future__ import annotations

import contextlib
import os
import subprocess
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
