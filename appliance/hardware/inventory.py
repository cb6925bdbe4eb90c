"""The machine as facts: what is known, and for each thing not known, why.

``None`` always means "not known"; ``absent`` things are False, 0 or an empty list.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Gpu:
    """One card; sizes in bytes, power in watts, temperature in degrees Celsius."""

    bus_id: str
    name: str | None = None
    pci_id: str | None = None
    kernel_driver: str | None = None
    vram_bytes: int | None = None
    vram_used_bytes: int | None = None
    compute: str | None = None
    pcie_gen: int | None = None
    pcie_gen_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    slot_width: int | None = None
    bar1_bytes: int | None = None
    power_limit_w: float | None = None
    power_limit_max_w: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttle_reasons: int | None = None
    ecc: bool | None = None
    ecc_uncorrected: int | None = None
    mig: bool | None = None
    nvlinks: int | None = None
    utilisation_percent: float | None = None


@dataclass
class Disk:
    """One disk. ``encrypted`` says whether a LUKS container lies on it."""

    name: str
    kind: str  # nvme, sata, usb, virtual, other
    size_bytes: int | None = None
    model: str | None = None
    rotational: bool | None = None
    encrypted: bool = False
    mountpoints: list[str] = field(default_factory=list)
    healthy: bool | None = None
    wear_percent: float | None = None
    temperature_c: float | None = None


@dataclass
class Cpu:
    """The processors of the machine."""

    model: str | None = None
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None
    flags: list[str] = field(default_factory=list)
    governor: str | None = None


@dataclass
class Memory:
    """Main memory; speed in MT/s."""

    total_bytes: int | None = None
    available_bytes: int | None = None
    speed_mts: int | None = None
    ecc: bool | None = None
    modules: int | None = None


@dataclass
class Platform:
    """Firmware, kernel, engine and clock."""

    maker: str | None = None
    product: str | None = None
    board: str | None = None
    firmware: str | None = None
    uefi: bool | None = None
    secure_boot: bool | None = None
    tpm: str | None = None  # "2", "1", "" when there is none
    iommu_groups: int | None = None
    virtualisation: str | None = None  # none, wsl, kvm, ...
    os_id: str | None = None
    os_version: str | None = None
    os_name: str | None = None
    kernel: str | None = None
    docker: str | None = None  # version, "" when absent
    nvidia_runtime: bool | None = None
    time_synchronised: bool | None = None
    max_temperature_c: float | None = None


@dataclass
class Driver:
    """The NVIDIA driver."""

    version: str | None = None  # "" when none is loaded
    cuda: str | None = None
    open_module: bool | None = None
    source: str = ""  # nvml, nvidia-smi, sysfs
    peers: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class Inventory:
    """Everything known of one machine."""

    gpus: list[Gpu] | None = None
    driver: Driver = field(default_factory=Driver)
    cpu: Cpu = field(default_factory=Cpu)
    memory: Memory = field(default_factory=Memory)
    disks: list[Disk] | None = None
    free_bytes: dict[str, int] = field(default_factory=dict)  # mount point -> free
    nics: list[dict[str, Any]] = field(default_factory=list)
    platform: Platform = field(default_factory=Platform)
    why_unknown: dict[str, str] = field(default_factory=dict)
    root_would_add: list[str] = field(default_factory=list)
    missing_probes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)

    def why(self, *topics: str) -> tuple[str, str, str]:
        """Return probe, kind and reason of the first of ``topics`` that could not be read."""
        for topic in topics:
            if topic in self.why_unknown:
                kind, _, reason = self.why_unknown[topic].partition(": ")
                return topic, kind, reason
        return (topics[0] if topics else ""), "silent", ""
