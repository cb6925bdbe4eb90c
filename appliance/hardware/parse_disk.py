"""Disks from lsblk, smartctl and df."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from appliance.hardware.inventory import Disk
from appliance.hardware.readings import Probes
from appliance.hardware.values import decimal, integer, mapping

_KINDS = {"nvme": "nvme", "sata": "sata", "ata": "sata", "sas": "sata", "usb": "usb"}
_IGNORED = ("zram", "loop", "ram", "fd", "sr")


def parse_disks(probes: Probes) -> list[Disk] | None:
    """Return the disks, or None when lsblk could not be read."""
    table = probes.read("lsblk").json()
    if not isinstance(table, dict) or not isinstance(table.get("blockdevices"), list):
        return None
    return [
        _disk(mapping(row), probes)
        for row in table["blockdevices"]
        if mapping(row).get("type") == "disk"
        and not str(mapping(row).get("name")).startswith(_IGNORED)
    ]


def _disk(row: dict[str, Any], probes: Probes) -> Disk:
    name = str(row.get("name"))
    parts = list(_below(row))
    transport = str(row.get("tran") or "")
    kind = "virtual" if name.startswith(("vd", "xvd")) else _KINDS.get(transport, "other")
    if name.startswith("nvme"):
        kind = "nvme"
    disk = Disk(
        name=name,
        kind=kind,
        size_bytes=integer(row.get("size")),
        model=str(row["model"]).strip() if row.get("model") else None,
        rotational=row["rota"] if isinstance(row.get("rota"), bool) else None,
        encrypted=any(p.get("fstype") == "crypto_LUKS" or p.get("type") == "crypt" for p in parts),
        mountpoints=[str(m) for p in parts for m in p.get("mountpoints") or [] if m],
    )
    _smart(disk, mapping(probes.read(f"smart-{name}").json()))
    return disk


def _below(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield row
    for child in row.get("children") or []:
        yield from _below(mapping(child))


def _smart(disk: Disk, report: dict[str, Any]) -> None:
    """Read ``smartctl -j``: overall health, wear and temperature."""
    passed = mapping(report.get("smart_status")).get("passed")
    if isinstance(passed, bool):
        disk.healthy = passed
    nvme = mapping(report.get("nvme_smart_health_information_log"))
    disk.wear_percent = decimal(nvme.get("percentage_used"))
    if integer(nvme.get("critical_warning")):
        disk.healthy = False  # NVMe base specification: any bit is a warning of the controller
    if (integer(nvme.get("media_errors")) or 0) > 0:
        disk.healthy = False
    disk.temperature_c = decimal(mapping(report.get("temperature")).get("current"))


def parse_free(probes: Probes) -> dict[str, int]:
    """Read ``df -P -B1``: free bytes by mount point, of file systems on block devices."""
    reading = probes.read("df")
    found: dict[str, int] = {}
    for line in reading.text.splitlines()[1:] if reading.ok else []:
        parts = line.split(None, 5)
        free = integer(parts[3]) if len(parts) == 6 else None  # noqa: PLR2004 - df -P's columns
        if free is not None and parts[0].startswith("/dev/"):
            found[parts[5]] = free
    return found
