"""NVML asked in a process of its own, because a wedged driver never returns from a call.

The watch keeps one child and asks it again and again, the check asks once.
"""

from __future__ import annotations

import importlib.util
import json
import os
import selectors
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from appliance.hardware.readings import Reading, Status

MAX_ANSWER = 1_048_576  # bytes; 16 cards take 20 KB
DRIVER_FILES = ("/proc/driver/nvidia/version", "/dev/nvidiactl", "/dev/dxg")


def driver_present() -> bool:
    """Whether a driver is loaded that NVML could talk to (/dev/dxg is WSL's)."""
    return any(Path(path).exists() for path in DRIVER_FILES)


def child_command() -> list[str]:
    """Return how the child is started: without site, so that it takes 15 MB and not 30."""
    script = Path(__file__).with_name("nvml_child.py")
    found = importlib.util.find_spec("pynvml")
    library = str(Path(found.origin).parent) if found and found.origin else ""
    return [sys.executable, "-I", "-S", str(script), library]


class NvmlChild:
    """A child that speaks NVML; killed when it does not answer in ``seconds``."""

    def __init__(self, seconds: float, command: list[str] | None = None) -> None:
        """Start nothing yet: the child starts with the first question."""
        self._seconds = seconds
        self._command = command or child_command()
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self) -> Reading:
        """Return one snapshot of all cards as JSON text."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        try:
            line = self._exchange(self._process)
        except (OSError, TimeoutError) as error:
            timeout = isinstance(error, TimeoutError)
            self.close()
            if timeout:
                return Reading(Status.TIMEOUT, reason=f"NVML gave no answer in {self._seconds:g} s")
            return Reading(Status.FAILED, reason="the NVML helper ended early")
        return _reading(line)

    def _exchange(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + self._seconds
        data = b""
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while not data.endswith(b"\n"):
                left = deadline - time.monotonic()
                if left <= 0 or not selector.select(left):
                    raise TimeoutError
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    raise BrokenPipeError
                data += chunk
                if len(data) > MAX_ANSWER:
                    raise BrokenPipeError
        return data

    def close(self) -> None:
        """End the child."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(OSError):
            process.kill()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


def _reading(line: bytes) -> Reading:
    try:
        value = json.loads(line)
    except ValueError:
        return Reading(Status.FAILED, reason="the NVML helper printed garbage")
    if not isinstance(value, dict):
        return Reading(Status.FAILED, reason="the NVML helper printed garbage")
    if "error" in value:
        return Reading(Status.FAILED, reason=str(value["error"]))
    return Reading(Status.OK, json.dumps(value, indent=1, sort_keys=True))
