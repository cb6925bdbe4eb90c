"""The watch over a machine of readings, with the audit log in memory."""

from __future__ import annotations

import json
import threading
import urllib.request
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from appliance.audit.memory import MemoryRecorder
from appliance.core.clock import FixedClock
from appliance.core.errors import BusyError, StateDamagedError
from appliance.core.errors.hardware import WatchFailedError
from appliance.core.home import Home
from appliance.core.settings.hardware import HardwareSettings
from appliance.hardware.catalogue import folder
from appliance.hardware.check import card_names
from appliance.hardware.readings import Reading, Status
from appliance.hardware.recording import load_recording
from appliance.hardware.watch import EventLog, Watch, WatchOptions, serve, state_file

SLOW = ("lsblk", "df", "tpm", "smart-nvme0n1", "smart-nvme1n1")
FAST = ("nvml", "nvidia-smi", "pci", "nvidia-version", "sensors", "adjtimex")


class ReplayProber:
    """Gives the readings of a recording, one of them changed at a time."""

    def __init__(self, name: str) -> None:
        self.slow_looks = 0
        self.use(name)

    def use(self, name: str) -> None:
        recording = load_recording(folder() / "recordings" / name, 1_048_576)
        self.readings = dict(recording.probes.readings)

    def fast(self) -> dict[str, Reading]:
        return {n: self.readings[n] for n in FAST}

    def slow(self) -> dict[str, Reading]:
        self.slow_looks += 1
        return {n: self.readings[n] for n in SLOW if n in self.readings}


class Bed:
    """A watch with its surroundings."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.prober = ReplayProber("target-2x-rtx-5090")
        self.log = MemoryRecorder("hardware")
        self.clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
        self.watch = self.again()

    def again(self) -> Watch:
        options = WatchOptions(self.clock, card_names(), 600.0)
        return Watch(self.home, self.prober, self._open, options)

    def _open(self) -> EventLog:
        return self.log

    def actions(self) -> list[str]:
        return [e.action for e in self.log.events]

    def samples(self) -> dict[str, float]:
        text = generate_latest(self.watch.metrics.registry).decode()
        return {
            f"{s.name}{json.dumps(s.labels, sort_keys=True) if s.labels else ''}": s.value
            for family in text_string_to_metric_families(text)
            for s in family.samples
        }


@pytest.fixture
def bed(home: Home) -> Bed:
    return Bed(home)


def test_the_first_look_logs_the_baseline(bed: Bed) -> None:
    assert bed.watch.look() == []
    assert bed.actions() == ["hardware.baseline"]
    assert bed.log.events[0].detail == {"cards": "2", "disks": "2"}
    assert bed.watch.look() == []
    assert len(bed.log.events) == 1


@pytest.mark.parametrize(
    ("recording", "action"),
    [
        ("card-gone", "hardware.card_gone"),
        ("x4-slot", "hardware.link_width_dropped"),
        ("driver-missing", "hardware.driver_changed"),
        ("disk-failing", "hardware.disk_failing"),
        ("disk-failing", "hardware.clock_unsynchronised"),
        ("no-tpm", "hardware.tpm_changed"),
    ],
)
def test_a_change_is_logged_once(bed: Bed, recording: str, action: str) -> None:
    bed.watch.look()
    bed.prober.use(recording)
    bed.clock.advance(601)
    assert action.removeprefix("hardware.") in [c.kind for c in bed.watch.look()]
    assert bed.actions().count(action) == 1
    bed.clock.advance(601)
    bed.watch.look()
    assert bed.actions().count(action) == 1


def test_a_change_while_the_watch_was_off_is_logged(bed: Bed) -> None:
    bed.watch.look()
    bed.prober.use("card-gone")
    assert [c.kind for c in bed.again().look()] == ["card_gone"]


def test_a_change_the_log_cannot_take_is_told_again(bed: Bed) -> None:
    bed.watch.look()
    bed.prober.use("card-gone")
    good, bed.log = bed.log, MemoryRecorder("hardware")
    bed.log.break_log()
    bed.watch._log = None
    assert bed.watch.look() == []
    assert bed.samples()["appliance_hardware_audit_failures_total"] == 1.0
    bed.log = good
    assert [c.kind for c in bed.watch.look()] == ["card_gone"]
    assert bed.actions()[-1] == "hardware.card_gone"


def test_a_driver_that_hangs_is_no_card_gone(bed: Bed) -> None:
    bed.watch.look()
    bed.prober.readings["nvml"] = Reading(Status.TIMEOUT, reason="NVML gave no answer in 3 s")
    bed.prober.readings["pci"] = Reading(Status.FAILED)
    bed.prober.readings["nvidia-smi"] = Reading(Status.TIMEOUT)
    assert bed.watch.look() == []
    samples = bed.samples()
    assert 'appliance_hardware_probe_failed{"probe": "nvml"}' in samples
    assert not any("gpu_temperature" in name for name in samples)
    assert "appliance_hardware_cards" not in samples


def test_disks_are_asked_seldom(bed: Bed) -> None:
    for _ in range(5):
        bed.watch.look()
        bed.clock.advance(100)
    assert bed.prober.slow_looks == 1
    bed.clock.advance(200)
    bed.watch.look()
    assert bed.prober.slow_looks == 2


def test_metrics_show_the_machine(bed: Bed) -> None:
    bed.watch.look()
    samples = bed.samples()
    card = '{"card": "0000:01:00.0", "name": "NVIDIA GeForce RTX 5090"}'
    assert samples[f"appliance_hardware_gpu_temperature_celsius{card}"] == 38
    assert samples[f"appliance_hardware_gpu_pcie_width{card}"] == 16
    assert samples["appliance_hardware_cards"] == 2
    assert samples["appliance_hardware_cards_missing"] == 0
    assert samples['appliance_hardware_disk_healthy{"disk": "nvme0n1"}'] == 1
    assert samples['appliance_hardware_disk_wear_percent{"disk": "nvme0n1"}'] == 2
    assert samples['appliance_hardware_disk_free_bytes{"mount": "/"}'] == 1752947000000
    assert samples["appliance_hardware_clock_synchronised"] == 1
    assert samples["appliance_hardware_tpm_present"] == 1
    bed.prober.use("throttling")
    bed.watch.look()
    hot = '{"card": "0000:01:00.0", "reason": "hw_thermal"}'
    assert bed.samples()[f"appliance_hardware_gpu_throttled{hot}"] == 1
    bed.prober.use("card-gone")
    bed.watch.look()
    samples = bed.samples()
    assert samples["appliance_hardware_cards_missing"] == 1
    assert samples['appliance_hardware_changes_total{"kind": "card_gone"}'] == 1


def test_a_lost_lane_stays_visible(bed: Bed) -> None:
    bed.watch.look()
    bed.prober.use("x4-slot")
    bed.watch.look()
    bed.watch.look()
    assert bed.samples()['appliance_hardware_gpu_link_lanes_lost{"card": "0000:41:00.0"}'] == 12


def test_damaged_state_is_refused_with_what_to_do(bed: Bed) -> None:
    bed.watch.look()
    state_file(bed.home).write_text('{"format": 7}', encoding="utf-8")
    with pytest.raises(StateDamagedError) as caught:
        bed.again()
    assert "--accept" in caught.value.todo


def run(
    bed: Bed, settings: HardwareSettings
) -> tuple[threading.Thread, threading.Event, list[Any]]:
    stop, told = threading.Event(), []
    ready = threading.Event()

    def tell(value: dict[str, str]) -> None:
        told.append(value)
        ready.set()

    thread = threading.Thread(target=serve, args=(bed.watch, bed.home, settings, stop, tell))
    thread.start()
    assert ready.wait(30)
    return thread, stop, told


def test_metrics_are_served_on_the_loopback_address_only(bed: Bed) -> None:
    thread, stop, told = run(bed, HardwareSettings(watch_port=0, watch_seconds=1))
    try:
        url = told[0]["listening"]
        assert url.startswith("http://127.0.0.1:")
        for _ in range(100):
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
            if "appliance_hardware_cards 2.0" in text:
                break
            threading.Event().wait(0.05)
        assert "appliance_hardware_cards 2.0" in text
        with pytest.raises(BusyError):
            serve(bed.again(), bed.home, HardwareSettings(watch_port=0), stop, told.append)
    finally:
        stop.set()
        thread.join(30)
    assert not thread.is_alive()


def test_a_port_in_use_is_named(bed: Bed, tmp_path: Any) -> None:
    thread, stop, told = run(bed, HardwareSettings(watch_port=0, watch_seconds=1))
    try:
        port = int(told[0]["listening"].split(":")[2].split("/")[0])
        other = Home(tmp_path / "other").prepare()
        with pytest.raises(WatchFailedError) as caught:
            serve(Bed(other).watch, other, HardwareSettings(watch_port=port), stop, told.append)
        assert str(port) in caught.value.expected
    finally:
        stop.set()
        thread.join(30)
