"""The disk fails at every system call on the write path; nothing acknowledged is lost.

strace makes the n-th call of one kind fail in the running writer (``--inject``). Whatever the
writer then does (refuse, stop), the log must open again, hold every acknowledged entry where it
was said to stand, and verify.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from appliance.audit import wire
from appliance.audit.client import SocketSink, connect
from appliance.audit.event import new_id
from appliance.audit.layout import current_shard
from appliance.audit.peers import socket_path
from appliance.audit.tiles import read_bundle
from appliance.audit.verify import Options, verify_home
from appliance.core.errors import ApplianceError, AuditUnavailableError
from appliance.core.home import Home
from tests.integration.audit.conftest import stop_writer, wait_gone
from tests.integration.audit.test_writer import body

# What the writer calls to make an entry durable, to tile it, to sign it, and to clean up; and
# which calls fail: one while the log opens, one while it works (the numbers are those of a start
# with a few tens of calls and of some seconds' work).
WRITE_PATH = {
    "pwrite64": (1, 5),  # the group goes into the write-ahead file
    "fdatasync": (1, 6),  # the group becomes durable
    "write": (2, 60),  # a tile, a checkpoint, the head of a segment
    "fsync": (3, 70),  # tiles and folders before a segment goes; the checkpoint
    "rename": (2, 25),  # tiles and the checkpoint take their place
    "ftruncate": (1, 2),  # a group that found no space is taken back
    "unlink": (1, 12),  # an old segment or partial tile goes
    "mkdir": (1, 9),  # a folder of tiles is made
    "fallocate": (1, 2),  # the reserve is made
}
SETTINGS = """[audit]
checkpoint_interval_s = 0.05
wal_segment_bytes = 1048576
reply_timeout_s = 20
idle_exit_s = 0
"""


@pytest.fixture(scope="module", autouse=True)
def strace() -> str:
    """strace, installed when it is missing and this is root."""
    if shutil.which("strace") is None and os.geteuid() == 0:
        command = ["apt-get", "install", "-y", "--no-install-recommends", "strace"]
        subprocess.run(command, check=True, capture_output=True)
    found = shutil.which("strace")
    if found is None:
        pytest.fail("strace is needed: apt-get install strace")
    return found


def start_under(
    strace: str, home: Home, inject: str, trace: Path = Path(os.devnull)
) -> subprocess.Popen[bytes]:
    """Start a writer in which some system calls fail."""
    kinds = inject.split(":", 1)[0]
    writer = [sys.executable, "-m", "appliance.audit.writer", "--home", str(home.root), "--stay"]
    tracing = ["-f", "-qq", "--seccomp-bpf", "-o", str(trace), "-e", f"trace={kinds}"]
    return subprocess.Popen(
        [strace, *tracing, "-e", f"inject={inject}", *writer],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def dial(home: Home, process: subprocess.Popen[bytes]) -> SocketSink | None:
    """Connect to the writer, or return None when it ended before anybody could."""
    while process.poll() is None:
        try:
            return connect(home, start=False)
        except AuditUnavailableError:
            time.sleep(0.05)
    return None


def work(home: Home, process: subprocess.Popen[bytes], acknowledged: dict[str, int]) -> None:
    """Append over several segments and checkpoints until done, or until the writer refuses."""
    sink = dial(home, process)
    if sink is None:
        return
    try:
        for number in range(14):
            ids = [new_id() for _ in range(150)]
            places = sink.append([body(id=i, user="u" * 100, role="r" * 60) for i in ids])
            acknowledged.update(zip(ids, places, strict=True))
            if number % 4 == 3:
                sink.ask(wire.SYNC)
        sink.ask(wire.STOP)
    except ApplianceError:  # what it refused may be refused; a stop must still be clean
        with contextlib.suppress(ApplianceError):
            connect(home, start=False).ask(wire.STOP)
    sink.close()


def end(home: Home, process: subprocess.Popen[bytes]) -> None:
    """End the writer under strace, if the fault has not."""
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
            os.kill(int(child), 9)
            wait_gone(int(child))
        process.wait(10)
    socket_path(home).unlink(missing_ok=True)


def check(home: Home, acknowledged: dict[str, int]) -> None:
    """Open the log without faults; everything acknowledged is there and it verifies."""
    connect(home).close()
    stop_writer(home)
    report = verify_home(home.audit, Options())
    assert report.ok, report.problems
    folder = current_shard(home).folder
    standing: dict[str, int] = {}
    for n in range((report.size + 255) // 256):
        for data in read_bundle(folder, n, min(256, report.size - n * 256)):
            value = json.loads(data)
            standing[value["id"]] = value["written"]["n"]
    assert {i: standing.get(i) for i in acknowledged} == acknowledged


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("call", sorted(WRITE_PATH))
def test_a_fault_at_this_call_loses_nothing_acknowledged(
    strace: str, tmp_path: Path, call: str, error: str
) -> None:
    home = Home(tmp_path / "home").prepare()
    home.settings_file.write_text(SETTINGS, encoding="utf-8")
    acknowledged: dict[str, int] = {}
    for nth in WRITE_PATH[call]:
        process = start_under(strace, home, f"{call}:error={error}:when={nth}")
        work(home, process, acknowledged)
        end(home, process)
    check(home, acknowledged)
    assert acknowledged


@pytest.mark.parametrize("call", ["pwrite64", "fdatasync", "write", "fsync", "rename"])
def test_a_kill_at_this_call_loses_nothing_acknowledged(
    strace: str, tmp_path: Path, call: str
) -> None:
    home = Home(tmp_path / "home").prepare()
    home.settings_file.write_text(SETTINGS, encoding="utf-8")
    acknowledged: dict[str, int] = {}
    for nth in WRITE_PATH[call]:
        process = start_under(strace, home, f"{call}:signal=SIGKILL:when={nth}")
        work(home, process, acknowledged)
        end(home, process)
    check(home, acknowledged)
