"""The machine's units after a change of version: restarted, recorded, or skipped with words.

A unit that was started before the switch runs the earlier version's code. What has to be restarted
stands in the recipe (``lifecycle.after``), is noted on the disk before the change is called done
and is forgotten when it was restarted, so that a cut in between loses nothing. The writer of the
log is one of the units: no intent of ours is open while it changes, and systemd stops those who
write before it and starts them after it (``After=appliance-audit.service`` in their units).

``systemctl`` asks for one unit after the other. The services are named first: until their
containers have stopped, all other jobs are queued, and systemd orders what is queued.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.event import Outcome
from appliance.audit.recorder import Recorder
from appliance.bundle.install.store import Store
from appliance.bundle.model import Lifecycle
from appliance.core.durable import fsync_dir, read_json, write_json
from appliance.core.errors import AuditUnavailableError, StateDamagedError
from appliance.core.home import Home
from appliance.core.settings import load_settings
from appliance.core.settings.bundle import BundleSettings

WRITER = "appliance-audit.service"
FIRST = ("appliance-services.service", WRITER)
POLL_S = 0.2
ASK_S = 60.0  # systemd answers a question in milliseconds, on a machine under emulation in seconds
UP = frozenset({"active", "activating", "reloading"})
NO_SYSTEMD = "skipped: systemd does not run here"
NOT_ROOT = "skipped: only root restarts units"
NONE_RUNS = "none of them runs"


class Units(Protocol):
    """The units of this machine."""

    def why_not(self) -> str | None:
        """Return why units cannot be restarted here, or None when they can."""
        ...

    def running(self, names: Sequence[str]) -> list[str]:
        """Return those of ``names`` that run, for this home."""
        ...

    def restart(self, names: Sequence[str]) -> None:
        """Restart ``names``; return when that is over and the log answers."""
        ...


class SystemdUnits:
    """The units of the systemd that runs here."""

    BOOTED = Path("/run/systemd/system")  # sd_booted(3)

    def __init__(self, home: Home, limits: BundleSettings) -> None:
        """Look after the units of ``home``; those of another home are left alone."""
        self.home, self.limits = home, limits

    def why_not(self) -> str | None:
        """Look for systemd, and whether it would listen."""
        if not self.BOOTED.is_dir() or shutil.which("systemctl") is None:
            return NO_SYSTEMD
        return NOT_ROOT if os.geteuid() != 0 else None

    def running(self, names: Sequence[str]) -> list[str]:
        """Ask which run; a unit names its home in RequiresMountsFor."""
        told = _systemctl("show", "--property=Id,ActiveState,RequiresMountsFor", *names)
        return running_in(told, str(self.home.root))

    def restart(self, names: Sequence[str]) -> None:
        """Ask in one call: systemd orders what is queued, and goes on when we are killed.

        What did not come up again is seen by looking, not by the exit status.
        """
        with contextlib.suppress(subprocess.TimeoutExpired):
            asked = ["try-restart", *in_order(names)]
            _systemctl(*asked, timeout=self.limits.restart_timeout_s)
        if WRITER in names:
            self._wait_for_writer()

    def _wait_for_writer(self) -> None:
        """Wait for the unit's own writer; one that a command started earlier is asked to leave."""
        limit = load_settings(self.home.settings_file).audit.start_timeout_s
        deadline = time.monotonic() + limit
        while not self._writer_is_the_units():
            if time.monotonic() > deadline:
                raise AuditUnavailableError(
                    expected=f"the log's writer within audit.start_timeout_s ({limit:g} s)",
                    found="none that systemd started",
                    remedy="systemctl status appliance-audit; then sudo appliance bundle recover.",
                )
            time.sleep(POLL_S)

    def _writer_is_the_units(self) -> bool:
        try:
            sink = connect(self.home, start=False)
        except AuditUnavailableError:
            return False
        try:
            main = _systemctl("show", "--property=MainPID", "--value", WRITER).strip()
            if str(sink.ask(wire.STATUS)["pid"]) == main:
                return True
            sink.ask(wire.STOP)
        except AuditUnavailableError:
            pass
        finally:
            sink.close()
        return False


def _systemctl(*words: str, timeout: float = ASK_S) -> str:
    done = subprocess.run(
        ["systemctl", *words],  # noqa: S607 - systemd's own, from root's PATH
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    return done.stdout


def in_order(names: Sequence[str]) -> list[str]:
    """Return ``names`` in the order they are asked for."""
    return [n for n in FIRST if n in names] + sorted(n for n in names if n not in FIRST)


def running_in(shown: str, home: str) -> list[str]:
    """Return the units of ``systemctl show`` that run (or are coming up) for ``home``."""
    found = []
    for block in shown.split("\n\n"):
        values = dict(line.partition("=")[::2] for line in block.splitlines())
        mounts = values.get("RequiresMountsFor", "").split()
        if values.get("ActiveState") in UP and home in mounts:
            found.append(values["Id"])
    return found


@dataclass(frozen=True)
class After:
    """What is left to do once a version is in use, on the disk until it was done."""

    store: Store
    units: Units
    recorder: Recorder

    def note(self, *lifecycles: Lifecycle) -> None:
        """Note the units that the versions before and after name."""
        names = sorted({u for life in lifecycles for step in life.after for u in step.units})
        if names:
            write_json(self.store.after, {"units": names})

    def run(self) -> dict[str, Any]:
        """Do what is noted; return what was restarted, what did not come back, or why nothing."""
        if not self.store.after.is_file():
            return {}
        value = read_json(self.store.after)
        if not isinstance(value, dict) or not isinstance(value.get("units"), list):
            raise StateDamagedError(
                expected="a list of units",
                found=f"other in {self.store.after}",
                remedy=f"sudo rm {self.store.after}; sudo systemctl try-restart 'appliance-*'",
            )
        done = self._restart(value["units"])
        self.store.after.unlink()
        fsync_dir(self.store.root)
        return done

    def _restart(self, names: list[str]) -> dict[str, Any]:
        why = self.units.why_not()
        running = [] if why else self.units.running(names)
        if not running:
            said = why or NONE_RUNS
            self.recorder.event("bundle.restart", detail={"units": said})
            return {"restarted": [], "restart": said}
        # Two events, not an action: an intent that is open while the writer changes would be
        # settled as unknown.
        listed = {"units": " ".join(running)}
        self.recorder.event("bundle.restart_begins", detail=listed)
        self.recorder.close()
        self.units.restart(running)
        up = self.units.running(running)
        lost = [name for name in running if name not in up]
        listed |= {"not_running": " ".join(lost)} if lost else {}
        outcome: Outcome = "failure" if lost else "success"
        self.recorder.event("bundle.restart", detail=listed, outcome=outcome)
        return {"restarted": up, "not_running": lost}
