"""`hardware watch`: look again and again, export metrics, log what changed.

A change that cannot be written to the audit log is not forgotten: the state stays as it was, so
the next look finds the change again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from appliance.core.clock import Clock
from appliance.core.durable import exclusive, read_json, write_json
from appliance.core.errors import ApplianceError, StateDamagedError
from appliance.core.errors.hardware import WatchFailedError
from appliance.core.home import Home
from appliance.core.settings.hardware import HardwareSettings
from appliance.hardware.changes import Change, State, compare, state_of
from appliance.hardware.metrics import Metrics
from appliance.hardware.parse import parse
from appliance.hardware.readings import FixedProbes, Reading, Status


class EventLog(Protocol):
    """The part of the audit recorder the watch uses."""

    def event(self, action: str, *, detail: Mapping[str, str] | None = None) -> Any:
        """Write one durable event; raises ``AuditUnavailableError``."""
        ...


class Prober(Protocol):
    """Where the watch gets readings."""

    def fast(self) -> dict[str, Reading]:
        """Return what may change any second: cards, temperatures, clock."""
        ...

    def slow(self) -> dict[str, Reading]:
        """Return what changes seldom or is costly: disks and their health, TPM."""
        ...


def state_file(home: Home) -> Path:
    """Return where the watch remembers the machine."""
    return home.root / "hardware" / "watch.json"


@dataclass(frozen=True)
class WatchOptions:
    """The clock, the names of cards by PCI id, and seconds between two costly looks."""

    clock: Clock
    cards: dict[str, str]
    slow_seconds: float


class Watch:
    """One watch over one machine."""

    def __init__(
        self,
        home: Home,
        prober: Prober,
        open_log: Callable[[], EventLog],
        options: WatchOptions,
    ) -> None:
        """Load the remembered state; nothing is probed yet."""
        self._path = state_file(home)
        self._prober = prober
        self._open_log = open_log
        self._log: EventLog | None = None
        self._clock = options.clock
        self._cards = options.cards
        self._slow_seconds = options.slow_seconds
        self._slow: dict[str, Reading] = {}
        self._slow_at: float | None = None
        self._state = load_state(self._path)
        self.metrics = Metrics()

    def look(self) -> list[Change]:
        """Look once: probe, export, log; return the changes that were logged."""
        start = self._clock.monotonic()
        if self._slow_at is None or start - self._slow_at >= self._slow_seconds:
            self._slow = self._prober.slow()
            self._slow_at = start
        inventory = parse(FixedProbes(_known(self._slow | self._prober.fast())), self._cards)
        found, after = compare(self._state or State(), state_of(inventory))
        logged = self._write(found, after)
        self.metrics.show(
            inventory,
            self._state or after,
            now=self._clock.now().timestamp(),
            took=self._clock.monotonic() - start,
        )
        return logged

    def _write(self, found: list[Change], after: State) -> list[Change]:
        """Log every change, then remember the state; a log that fails leaves the state as it was.

        Events written before the failure are written again next time: twice rather than never.
        """
        try:
            if self._log is None and (found or self._state is None):
                self._log = self._open_log()
            if self._state is None and self._log is not None:
                counts = {
                    "cards": str(len(after.cards or {})),
                    "disks": str(len(after.disks or {})),
                }
                self._log.event("hardware.baseline", detail=counts)
            for change in found:
                assert self._log is not None
                self._log.event(f"hardware.{change.kind}", detail=change.detail())
        except ApplianceError:
            self._log = None
            self.metrics.unlogged()
            return []
        for change in found:
            self.metrics.changed(change)
        if after != self._state:
            write_json(self._path, after.model_dump(mode="json"))
            self._state = after
        return found

    def run(
        self, stop: threading.Event, seconds: float, on_change: Callable[[Change], None]
    ) -> None:
        """Look every ``seconds`` until ``stop`` is set."""
        while not stop.is_set():
            for change in self.look():
                on_change(change)
            stop.wait(seconds)


def _known(readings: dict[str, Reading]) -> dict[str, Reading]:
    """Say of probes the watch does not use that they were left out on purpose."""
    unused = ("docker", "dmidecode", "virt", "timedatectl", "governor", "kernel", "net", "dmi",
              "edac", "efi", "iommu", "os-release", "user", "cpuinfo", "meminfo")  # fmt: skip
    none = Reading(Status.ABSENT, reason="not watched")
    return dict.fromkeys(unused, none) | readings


def load_state(path: Path) -> State | None:
    """Return the remembered state, None before the first look; raise ``StateDamagedError``."""
    if not path.is_file():
        return None
    try:
        return State.model_validate(read_json(path))
    except ValidationError as error:
        raise StateDamagedError(
            expected=f"the watch's state in {path}",
            found="something else",
            remedy="Run: appliance hardware watch --accept, which looks afresh.",
        ) from error


def serve(
    watch: Watch,
    home: Home,
    settings: HardwareSettings,
    stop: threading.Event,
    tell: Callable[[dict[str, str]], None],
) -> None:
    """Export metrics on the loopback address and watch until ``stop`` is set.

    ``tell`` gets the address first, then every change.
    """
    from prometheus_client import start_http_server

    with exclusive(home.run / "hardware-watch.lock", what="hardware watch"):
        try:
            server, thread = start_http_server(
                settings.watch_port, addr="127.0.0.1", registry=watch.metrics.registry
            )
        except OSError as error:
            raise WatchFailedError(
                expected=f"TCP port {settings.watch_port} free on 127.0.0.1",
                found=error.strerror or type(error).__name__,
            ) from error
        try:
            tell({"listening": f"http://127.0.0.1:{server.server_port}/metrics"})
            watch.run(stop, settings.watch_seconds, lambda c: tell({"kind": c.kind, **c.detail()}))
        finally:
            server.shutdown()
            server.server_close()
            thread.join(timeout=5)
