"""Probes that walk /sys and /proc: each returns a JSON text of what the kernel shows."""

from __future__ import annotations

import json
import re
from typing import Any

from appliance.hardware.readings import Reading, Status
from appliance.hardware.system import System

PCI = "/sys/bus/pci/devices"
# Class codes (PCI Code and ID Assignment): display 03, network 02, NVMe 0108, bridge 0604.
_PCI_CLASSES = ("0x03", "0x02", "0x0108", "0x0604")
_PCI_FILES = (
    "current_link_speed",
    "current_link_width",
    "max_link_speed",
    "max_link_width",
    "numa_node",
)
_EFI = "/sys/firmware/efi"
_EFI_GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"  # UEFI 2.10, 3.3 global variables


def _values(system: System, folder: str, names: tuple[str, ...] | list[str]) -> dict[str, str]:
    found = {name: system.text(f"{folder}/{name}") for name in names}
    return {name: value.text.strip() for name, value in found.items() if value.ok}


def _json(value: Any) -> Reading:
    if not value:
        return Reading(Status.ABSENT, reason="the kernel shows none")
    return Reading(Status.OK, json.dumps(value, indent=1, sort_keys=True))


def pci(system: System) -> Reading:
    """PCI devices that matter here, with link speed and width, driver, IOMMU group and BARs."""
    found: dict[str, Any] = {}
    for address in system.children(PCI):
        folder = f"{PCI}/{address}"
        code = system.text(f"{folder}/class").text.strip()
        if not code.startswith(_PCI_CLASSES):
            continue
        entry: dict[str, Any] = {"class": code}
        entry |= _values(system, folder, ("vendor", "device", *_PCI_FILES))
        entry["driver"] = system.link_name(f"{folder}/driver")
        entry["iommu_group"] = system.link_name(f"{folder}/iommu_group")
        entry["parent"] = system.parent_name(folder)
        entry["bars"] = _bars(system.text(f"{folder}/resource").text)
        found[address] = entry
    return _json(found)


def _bars(resource: str) -> list[int]:
    """Sizes in bytes of the regions of a ``resource`` file (start, end, flags; all hex)."""
    sizes = []
    for line in resource.splitlines()[:6]:
        numbers = re.findall(r"0x[0-9a-fA-F]+", line)
        if len(numbers) == 3:  # noqa: PLR2004 - start, end, flags
            start, end = int(numbers[0], 16), int(numbers[1], 16)
            sizes.append(end - start + 1 if end > start else 0)
    return sizes


def dmi(system: System) -> Reading:
    """Maker, board and firmware of the machine, as every user may read them."""
    names = ["sys_vendor", "product_name", "board_vendor", "board_name"]
    names += ["bios_vendor", "bios_version", "bios_date"]
    return _json(_values(system, "/sys/class/dmi/id", names))


def tpm(system: System) -> Reading:
    """The TPMs: version of each."""
    base = "/sys/class/tpm"
    names = [n for n in system.children(base) if re.fullmatch(r"tpm\d+", n)]
    return _json({n: _values(system, f"{base}/{n}", ("tpm_version_major",)) for n in names})


def efi(system: System) -> Reading:
    """Whether the machine booted by UEFI, and Secure Boot's two variables (last byte of each)."""
    if not system.children(_EFI):
        return Reading(Status.ABSENT, reason="the machine did not boot by UEFI")
    values: dict[str, Any] = {"uefi": True}
    for name in ("SecureBoot", "SetupMode"):
        reading = system.text(f"{_EFI}/efivars/{name}-{_EFI_GLOBAL}")
        # Four bytes of attributes, then the value (Linux: efivarfs).
        if reading.ok and len(reading.text) == 5:  # noqa: PLR2004 - as said above
            values[name] = ord(reading.text[4])
        else:
            values[name] = None
    return _json(values)


def net(system: System) -> Reading:
    """Network cards: speed in Mbit/s, link state, driver. No addresses."""
    base = "/sys/class/net"
    found: dict[str, Any] = {}
    for name in system.children(base):
        entry: dict[str, Any] = dict(
            _values(system, f"{base}/{name}", ("operstate", "speed", "type"))
        )
        entry["driver"] = system.link_name(f"{base}/{name}/device/driver")
        found[name] = entry
    return _json(found)


def sensors(system: System) -> Reading:
    """Temperatures (thousandths of a degree) and fans of every hwmon chip."""
    base = "/sys/class/hwmon"
    found: dict[str, Any] = {}
    for chip in system.children(base):
        names = [
            n
            for n in system.children(f"{base}/{chip}")
            if re.fullmatch(r"(temp|fan)\d+_(input|label|crit|max)", n)
        ]
        found[chip] = _values(system, f"{base}/{chip}", ["name", *names])
    return _json(found)


def edac(system: System) -> Reading:
    """Memory controllers with error correction, and the errors they counted."""
    base = "/sys/devices/system/edac/mc"
    names = [n for n in system.children(base) if re.fullmatch(r"mc\d+", n)]
    files = ("mc_name", "ce_count", "ue_count", "size_mb")
    return _json({n: _values(system, f"{base}/{n}", files) for n in names})


def iommu(system: System) -> Reading:
    """How many IOMMU groups the kernel made."""
    return _json({"groups": len(system.children("/sys/kernel/iommu_groups"))})


def cpuinfo(system: System) -> Reading:
    """``/proc/cpuinfo``, one block a socket (the blocks of a socket are alike)."""
    reading = system.text("/proc/cpuinfo")
    if not reading.ok:
        return reading
    kept: dict[str, str] = {}
    for block in reading.text.strip().split("\n\n"):
        socket = re.search(r"^physical id\s*:\s*(\d+)", block, re.MULTILINE)
        kept.setdefault(socket.group(1) if socket else "0", block)
    return Reading(Status.OK, "\n\n".join(kept.values()) + "\n")
