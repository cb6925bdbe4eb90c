"""The watch's Prometheus metrics, filled from one inventory at a time."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector

from appliance.hardware.changes import Change, State
from appliance.hardware.checks_gpu import TROUBLE
from appliance.hardware.inventory import Disk, Gpu, Inventory

PREFIX = "appliance_hardware"
_CARD = ("card", "name")


class Metrics:
    """Every metric of the watch, in a registry of its own.

    What is not known has no sample, so that no alert reads an old or a made-up value; a scrape
    sees one whole look, never half of two.
    """

    def __init__(self) -> None:
        """Create the metrics; no gauge is exported before the first look."""
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._changes = Counter(
            f"{PREFIX}_changes", "Changes of the machine.", ["kind"], registry=self.registry
        )
        self._unlogged = Counter(
            f"{PREFIX}_audit_failures",
            "Looks whose changes could not be written to the audit log yet.",
            registry=self.registry,
        )
        self._next: dict[str, dict[tuple[str, ...], float]] = {}
        self._shown = self._next
        self.registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """Name no metric in advance: what is exported depends on what is known."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Return the samples of the last look."""
        shown = self._shown
        for name, help_text, labels in GAUGES:
            samples = shown.get(name)
            if samples:
                family = GaugeMetricFamily(f"{PREFIX}_{name}", help_text, labels=labels)
                for values, value in samples.items():
                    family.add_metric(values, value)
                yield family

    def _set(self, name: str, value: float | None, *labels: str) -> None:
        if value is not None:
            self._next.setdefault(name, {})[labels] = value

    def show(self, inventory: Inventory, state: State, *, now: float, took: float) -> None:
        """Export one look; what is not known any more is exported no more."""
        self._next = {}
        for gpu in inventory.gpus or []:
            self._gpu(gpu)
        for disk in inventory.disks or []:
            self._disk(disk)
        for mount, free in inventory.free_bytes.items():
            self._set("disk_free_bytes", free, mount)
        for probe in inventory.why_unknown:
            self._set("probe_failed", 1, probe)
        self._kept(state)
        self._set("cards", len(inventory.gpus) if inventory.gpus is not None else None)
        clock = inventory.platform.time_synchronised
        self._set("clock_synchronised", None if clock is None else float(clock))
        tpm = inventory.platform.tpm
        self._set("tpm_present", None if tpm is None else float(bool(tpm)))
        self._set("temperature_max_celsius", inventory.platform.max_temperature_c)
        self._set("look_seconds", took)
        self._set("last_look_timestamp_seconds", now)
        self._shown = self._next

    def _kept(self, state: State) -> None:
        """Export what only the memory of earlier looks can tell."""
        cards, disks = state.cards or {}, state.disks or {}
        self._set("cards_missing", sum(not c.present for c in cards.values()))
        self._set("disks_missing", sum(not d.present for d in disks.values()))
        for where, card in cards.items():
            if card.present and card.width and card.best_width:
                self._set("gpu_link_lanes_lost", card.best_width - card.width, where)

    def _gpu(self, gpu: Gpu) -> None:
        labels = (gpu.bus_id, gpu.name or "unknown")
        self._set("gpu_temperature_celsius", gpu.temperature_c, *labels)
        self._set("gpu_power_watts", gpu.power_w, *labels)
        self._set("gpu_memory_bytes", gpu.vram_bytes, *labels)
        self._set("gpu_memory_used_bytes", gpu.vram_used_bytes, *labels)
        self._set("gpu_utilisation_percent", gpu.utilisation_percent, *labels)
        self._set("gpu_pcie_width", gpu.pcie_width, *labels)
        self._set("gpu_ecc_uncorrected", gpu.ecc_uncorrected, *labels)
        if gpu.throttle_reasons is not None:
            for bit, reason in TROUBLE.items():
                on = float(bool(gpu.throttle_reasons & bit))
                self._set("gpu_throttled", on, gpu.bus_id, reason.removeprefix("reason_"))

    def _disk(self, disk: Disk) -> None:
        self._set("disk_healthy", None if disk.healthy is None else float(disk.healthy), disk.name)
        self._set("disk_wear_percent", disk.wear_percent, disk.name)
        self._set("disk_temperature_celsius", disk.temperature_c, disk.name)

    def changed(self, change: Change) -> None:
        """Count a change that was logged."""
        self._changes.labels(change.kind).inc()

    def unlogged(self) -> None:
        """Count a failure of the audit log."""
        self._unlogged.inc()


GAUGES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("gpu_temperature_celsius", "Temperature of a card.", _CARD),
    ("gpu_power_watts", "Power a card draws.", _CARD),
    ("gpu_memory_bytes", "Memory of a card.", _CARD),
    ("gpu_memory_used_bytes", "Memory of a card in use.", _CARD),
    ("gpu_utilisation_percent", "Share of time a card is busy.", _CARD),
    ("gpu_pcie_width", "PCIe lanes of a card now.", _CARD),
    ("gpu_ecc_uncorrected", "Uncorrected memory errors of a card since the driver loaded.", _CARD),
    ("gpu_throttled", "1 while a card is slowed for this reason.", ("card", "reason")),
    ("gpu_link_lanes_lost", "PCIe lanes below the most ever seen.", ("card",)),
    ("cards", "Cards found.", ()),
    ("cards_missing", "Cards that were there and are gone.", ()),
    ("disk_healthy", "1 when the disk's own health check passes.", ("disk",)),
    ("disk_wear_percent", "Share of the disk's rated writes used.", ("disk",)),
    ("disk_temperature_celsius", "Temperature of a disk.", ("disk",)),
    ("disk_free_bytes", "Free space of a file system.", ("mount",)),
    ("disks_missing", "Disks that were there and are gone.", ()),
    ("temperature_max_celsius", "The hottest sensor of the machine.", ()),
    ("clock_synchronised", "1 when the kernel's clock is synchronised.", ()),
    ("tpm_present", "1 when there is a TPM.", ()),
    ("probe_failed", "1 for each probe that could not be read at the last look.", ("probe",)),
    ("look_seconds", "Seconds the last look took.", ()),
    ("last_look_timestamp_seconds", "When the last look ended.", ()),
)
