"""Writers for these tests: started on a home of their own, gone when the test is over."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.audit import wire
from appliance.audit.client import SocketSink, connect
from appliance.core.errors import ApplianceError
from appliance.core.home import Home


def stop_writer(home: Home) -> None:
    """Ask the writer of ``home`` to stop and wait until it has."""
    with contextlib.suppress(ApplianceError):
        sink = connect(home, start=False)
        pid = int(sink.ask(wire.STATUS)["pid"])
        sink.ask(wire.STOP)
        sink.close()
        wait_gone(pid)


def kill_writer(home: Home) -> None:
    """End the writer of ``home`` as a power cut would."""
    sink = connect(home, start=False)
    pid = int(sink.ask(wire.STATUS)["pid"])
    os.kill(pid, signal.SIGKILL)
    sink.close()
    wait_gone(pid)


def wait_gone(pid: int) -> None:
    """Wait until the process is gone or a zombie."""
    for _ in range(1000):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        except OSError:
            return
        if fields[0] == "Z":
            return
        time.sleep(0.01)
    pytest.fail(f"process {pid} did not end")


@pytest.fixture
def writer(home: Home) -> Iterator[Callable[[], SocketSink]]:
    """Return connections to the writer of ``home``, which is stopped afterwards."""
    sinks: list[SocketSink] = []

    def dial() -> SocketSink:
        sinks.append(connect(home))
        return sinks[-1]

    yield dial
    for sink in sinks:
        sink.close()
    stop_writer(home)
