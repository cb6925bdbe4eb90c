"""The machine as the probes see it: files, and programs that may hang or babble."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.hardware.readings import Reading, Status

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/wsl/lib"
_DENIED = ("permission denied", "operation not permitted", "must be root", "are you root")


class System(Protocol):
    """Files and programs of one machine."""

    def text(self, path: str) -> Reading:
        """Read a small file."""
        ...

    def children(self, path: str) -> list[str]:
        """Name what is in a folder, sorted; empty when there is none."""
        ...

    def link_name(self, path: str) -> str | None:
        """Return the last part of where a link points, or None."""
        ...

    def parent_name(self, path: str) -> str | None:
        """Return the name of the folder that really holds ``path`` (links followed)."""
        ...

    def run(self, command: Sequence[str]) -> Reading:
        """Run a program in the C locale, with a time limit, and return what it printed."""
        ...


@dataclass(frozen=True)
class LiveSystem:
    """This machine. ``root`` other than ``/`` is a test's copy of /proc, /sys and /etc."""

    seconds: float = 3.0
    max_bytes: int = 4_194_304
    root: str = "/"
    search_path: str = SEARCH_PATH

    def _at(self, path: str) -> str:
        return path if self.root == "/" else os.path.join(self.root, path.lstrip("/"))  # noqa: PTH118 - a thousand sysfs files: strings are twice as fast

    def text(self, path: str) -> Reading:
        """Read a small file; never raises."""
        try:
            fd = os.open(self._at(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                data = bytearray()
                while len(data) < self.max_bytes and (chunk := os.read(fd, 65536)):
                    data += chunk
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            return Reading(Status.ABSENT, reason="no such file")
        except PermissionError:
            return Reading(Status.DENIED, reason="needs root")
        except OSError as error:
            return Reading(Status.FAILED, reason=error.strerror or type(error).__name__)
        return Reading(Status.OK, data.decode("utf-8", "replace"))

    def children(self, path: str) -> list[str]:
        """Name what is in a folder; empty when there is none."""
        try:
            return sorted(os.listdir(self._at(path)))  # noqa: PTH208 - as above
        except OSError:
            return []

    def link_name(self, path: str) -> str | None:
        """Return the last part of where a link points, or None."""
        try:
            return os.readlink(self._at(path)).rsplit("/", 1)[-1]  # noqa: PTH115 - as above
        except OSError:
            return None

    def parent_name(self, path: str) -> str | None:
        """Return the name of the folder that really holds ``path`` (links followed)."""
        try:
            return Path(self._at(path)).resolve(strict=True).parent.name
        except OSError:
            return None

    def run(self, command: Sequence[str]) -> Reading:
        """Run a program in the C locale; one that does not answer in time is killed and left."""
        program = shutil.which(command[0], path=self.search_path)
        if program is None:
            return Reading(Status.NO_TOOL, reason=f"{command[0]} is not installed")
        try:
            process = subprocess.Popen(
                [program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={"PATH": self.search_path, "LC_ALL": "C", "LANG": "C", "HOME": "/"},
                start_new_session=True,
            )
        except OSError as error:
            return Reading(Status.FAILED, reason=error.strerror or type(error).__name__)
        return _drain(process, command[0], self.seconds, self.max_bytes)


def _drain(process: subprocess.Popen[bytes], name: str, seconds: float, max_bytes: int) -> Reading:
    """Read both pipes until they close, the time is over or there is too much."""
    assert process.stdout is not None
    assert process.stderr is not None
    deadline = time.monotonic() + seconds
    kept: dict[int, bytearray] = {process.stdout.fileno(): bytearray()}
    kept[process.stderr.fileno()] = bytearray()
    with selectors.DefaultSelector() as selector, process.stdout, process.stderr:
        for fd in kept:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                _kill(process)
                return Reading(Status.TIMEOUT, reason=f"{name} gave no answer in {seconds:g} s")
            for key, _ in ready:
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fd)
                    continue
                kept[key.fd] += chunk
                if len(kept[key.fd]) > max_bytes:
                    _kill(process)
                    return Reading(
                        Status.FAILED, reason=f"{name} printed more than {max_bytes} bytes"
                    )
        out, err = (bytes(b).decode("utf-8", "replace") for b in kept.values())
    try:
        code = process.wait(max(0.05, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        _kill(process)
        return Reading(Status.TIMEOUT, reason=f"{name} did not end in {seconds:g} s")
    return _judge_end(name, code, out, err)


def _judge_end(name: str, code: int, out: str, err: str) -> Reading:
    if code == 0 or (name == "smartctl" and out.lstrip().startswith("{")):
        # smartctl's exit status is a bit mask of findings; its JSON repeats it (smartctl(8)).
        return Reading(Status.OK, out)
    said = f"{out}\n{err}".lower()
    if any(word in said for word in _DENIED):
        return Reading(Status.DENIED, reason=f"{name} needs root")
    if name == "systemd-detect-virt" and out.strip() == "none":
        return Reading(Status.OK, out)  # exit 1 means "no virtualisation" (systemd-detect-virt(1))
    return Reading(Status.FAILED, out if name == "nvidia-smi" else "", f"{name} ended with {code}")


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group; one stuck inside the kernel is left to die when it can."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.2)
