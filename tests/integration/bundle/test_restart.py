"""The log's writer changes hands: a systemctl that is a few lines here, the writers are real."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.recorder import open_recorder
from appliance.bundle.install.restart import NO_SYSTEMD, WRITER, After, SystemdUnits
from appliance.bundle.install.store import Store
from appliance.bundle.model import Lifecycle, Restart
from appliance.core.errors import AuditUnavailableError
from appliance.core.home import Home
from appliance.core.settings.bundle import BundleSettings

SERVICES = "appliance-services.service"
NAMED = Lifecycle(after=(Restart(kind="restart", units=(WRITER, SERVICES)),))
SYSTEMCTL = """#!{python}
import os, pathlib, signal, subprocess, sys, time
here, home = pathlib.Path({folder!r}), {home!r}
pid = here / "pid"
words = sys.argv[1:]
with (here / "asked").open("a") as asked:
    asked.write(" ".join(words) + chr(10))
if words[0] == "try-restart":
    if (here / "lost").exists():
        sys.exit(1)
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGTERM)
        while os.path.exists("/proc/" + pid.read_text()):
            time.sleep(0.02)
    # As the unit does: again and again, while another writer holds the log.
    writer = "{python} -m appliance.audit.writer --stay --home " + home
    loop = "while ! " + writer + "; do sleep 0.2; done"
    loop = "echo $$ > " + str(here / "loop") + "; " + loop
    subprocess.Popen(["/bin/sh", "-c", loop], start_new_session=True, stdin=subprocess.DEVNULL,
                     stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
elif "--property=MainPID" in words:
    loop = (here / "loop").read_text().strip() if (here / "loop").exists() else "0"
    path = pathlib.Path("/proc/" + loop + "/task/" + loop + "/children")
    found = path.read_text().split() if path.exists() else []
    print(found[0] if found else 0)
else:
    for name in words[2:]:
        print("Id=" + name, "ActiveState=active", "RequiresMountsFor=" + home, "", sep=chr(10))
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path / "home").prepare()
    yield found
    loop = tmp_path / "loop"
    if loop.exists():
        os.kill(int(loop.read_text()), 9)
    for _ in range(3):
        try:
            sink = connect(found, start=False)
            sink.ask(wire.STOP)
            sink.close()
        except AuditUnavailableError:
            break
        time.sleep(0.3)


@pytest.fixture
def units(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SystemdUnits:
    program = tmp_path / "bin" / "systemctl"
    program.parent.mkdir()
    text = SYSTEMCTL.format(python=sys.executable, folder=str(tmp_path), home=str(home.root))
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(SystemdUnits, "why_not", lambda _self: None)
    return SystemdUnits(home, BundleSettings())


def status(home: Home) -> int:
    sink = connect(home, start=False)
    pid = int(sink.ask(wire.STATUS)["pid"])
    sink.close()
    return pid


def test_the_units_writer_takes_over_from_one_that_a_command_started(
    home: Home, units: SystemdUnits, tmp_path: Path
) -> None:
    """A long-lived client would keep the earlier version's writer for ever."""
    with open_recorder(home, "gateway") as client, open_recorder(home, "bundle") as recorder:
        client.event("gateway.started")
        before = status(home)
        store = Store(home)
        store.root.mkdir(parents=True, exist_ok=True)
        after = After(store, units, recorder)
        after.note(NAMED)
        assert after.run() == {"restarted": [WRITER, SERVICES], "not_running": []}
        now = status(home)
        assert now != before
        client.close()  # the service was stopped and started meanwhile
        client.event("gateway.started")
        assert after.run() == {}
        assert status(home) == now
    asked = (tmp_path / "asked").read_text().splitlines()
    assert asked.count(f"try-restart {SERVICES} {WRITER}") == 1


def test_a_writer_that_does_not_come_back_is_told_and_not_replaced(
    home: Home, units: SystemdUnits, tmp_path: Path
) -> None:
    """No command of the earlier version may become the log's writer again."""
    home.settings_file.write_text("[audit]\nstart_timeout_s = 2\n")
    (tmp_path / "lost").touch()
    store = Store(home)
    store.root.mkdir(parents=True, exist_ok=True)
    with open_recorder(home, "bundle") as recorder:
        after = After(store, units, recorder)
        after.note(NAMED)
        with pytest.raises(AuditUnavailableError, match="none that systemd started"):
            after.run()
        assert store.after.is_file()


def test_a_machine_without_systemd_is_skipped(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    units = SystemdUnits(home, BundleSettings())
    monkeypatch.setattr(SystemdUnits, "BOOTED", home.root / "nothing")
    assert units.why_not() == NO_SYSTEMD
