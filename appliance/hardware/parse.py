"""From readings to an inventory. Pure: garbage becomes "not known", never a guess."""

from __future__ import annotations

import re
from typing import Any

from appliance.hardware.inventory import Cpu, Inventory, Memory, Platform
from appliance.hardware.parse_disk import parse_disks, parse_free
from appliance.hardware.parse_gpu import parse_driver, parse_gpus
from appliance.hardware.readings import Probes, Status
from appliance.hardware.values import integer, mapping

_STA_UNSYNC = 0x0040  # adjtimex(2): the clock is not synchronised
_TIME_ERROR = 5  # adjtimex(2): the same, as the state
EXPECTED = (
    "adjtimex", "cpuinfo", "df", "dmi", "dmidecode", "docker", "edac", "efi", "governor", "iommu",
    "kernel", "lsblk", "meminfo", "net", "nvidia-smi", "nvidia-version", "nvml", "os-release",
    "pci", "sensors", "timedatectl", "tpm", "user", "virt",
)  # fmt: skip


def parse(probes: Probes, cards: dict[str, str]) -> Inventory:
    """Build the inventory. ``cards`` maps PCI ids (``10de:2b85``) to card names."""
    inventory = Inventory()
    for name in (*EXPECTED, *probes.names()):
        reading = probes.read(name)
        if reading.status is Status.NOT_RECORDED and name not in inventory.missing_probes:
            inventory.missing_probes.append(name)
        if reading.status is Status.DENIED and name not in inventory.root_would_add:
            inventory.root_would_add.append(name)
        if reading.status not in {Status.OK, Status.ABSENT}:
            inventory.why_unknown[name] = f"{reading.status}: {reading.reason}"
    inventory.driver = parse_driver(probes)
    inventory.gpus = parse_gpus(probes, cards)
    told = mapping(probes.read("nvml").json()).get("gpus")
    if inventory.gpus and not told and "nvml" not in inventory.why_unknown:
        inventory.why_unknown["nvml"] = "driver: it does not speak for the cards"
    inventory.cpu = parse_cpu(probes)
    inventory.memory = parse_memory(probes)
    inventory.disks = parse_disks(probes)
    inventory.free_bytes = parse_free(probes)
    inventory.nics = parse_nics(probes)
    inventory.platform = parse_platform(probes)
    return inventory


def _fields(text: str) -> dict[str, str]:
    """Read ``key : value`` lines; the first of a key wins."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def parse_cpu(probes: Probes) -> Cpu:
    """Read ``cpuinfo`` (one block a socket) and the governor (absent in most VMs)."""
    cpu = Cpu()
    reading = probes.read("cpuinfo")
    blocks = [_fields(b) for b in reading.text.strip().split("\n\n")] if reading.ok else []
    blocks = [b for b in blocks if "model name" in b]
    if blocks:
        cores = [integer(b.get("cpu cores")) for b in blocks]
        threads = [integer(b.get("siblings")) for b in blocks]
        cpu.model = blocks[0]["model name"]
        cpu.sockets = len(blocks)
        cpu.cores = sum(c for c in cores if c) if all(cores) else None
        cpu.threads = sum(t for t in threads if t) if all(threads) else None
        cpu.flags = blocks[0].get("flags", "").split()
    governor = probes.read("governor")
    if governor.ok:
        cpu.governor = governor.text.strip() or None
    elif governor.status is Status.ABSENT:
        cpu.governor = ""
    return cpu


def parse_memory(probes: Probes) -> Memory:
    """Read ``/proc/meminfo`` (kB), and modules from dmidecode or error correction from EDAC."""
    memory = Memory()
    info = _fields(probes.read("meminfo").text)
    for key, name in (("MemTotal", "total_bytes"), ("MemAvailable", "available_bytes")):
        match = re.fullmatch(r"(\d+) kB", info.get(key, ""))
        if match:
            setattr(memory, name, int(match.group(1)) * 1024)
    dmi = probes.read("dmidecode")
    if dmi.ok:
        told = re.findall(r"^\s*Configured Memory Speed: (\d+) MT/s", dmi.text, re.MULTILINE)
        speeds = [int(s) for s in told]
        memory.speed_mts = min(speeds) if speeds else None
        memory.modules = len(re.findall(r"^\s*Size: \d+ (?:GB|MB)", dmi.text, re.MULTILINE)) or None
        kind = re.search(r"^\s*Error Correction Type: (.+)$", dmi.text, re.MULTILINE)
        if kind and kind.group(1).strip() not in {"Unknown", "Other"}:
            memory.ecc = kind.group(1).strip() != "None"
    if memory.ecc is None and mapping(probes.read("edac").json()):
        memory.ecc = True  # EDAC controllers register only for memory with error correction
    return memory


def parse_nics(probes: Probes) -> list[dict[str, Any]]:
    """Read the real network cards: those with a driver of their own."""
    table = mapping(probes.read("net").json())
    found = []
    for name, entry in sorted(table.items()):
        if isinstance(entry, dict) and entry.get("driver"):
            speed = integer(entry.get("speed"))
            found.append(
                {
                    "name": name,
                    "driver": entry["driver"],
                    "up": entry.get("operstate") == "up",
                    "mbit_s": speed if speed and speed > 0 else None,
                }
            )
    return found


def parse_platform(probes: Probes) -> Platform:
    """Read firmware, TPM, kernel, engine and clock."""
    platform = Platform()
    dmi = mapping(probes.read("dmi").json())
    platform.maker, platform.product = dmi.get("sys_vendor"), dmi.get("product_name")
    platform.board = dmi.get("board_name")
    if dmi.get("bios_version"):
        platform.firmware = f"{dmi['bios_version']} ({dmi.get('bios_date', 'no date')})"
    _firmware(probes, platform)
    _system(probes, platform)
    _engine(probes, platform)
    platform.time_synchronised = _clock(probes)
    platform.max_temperature_c = _hottest(probes)
    groups = mapping(probes.read("iommu").json())
    platform.iommu_groups = integer(groups.get("groups"))
    return platform


def _firmware(probes: Probes, platform: Platform) -> None:
    efi = probes.read("efi")
    if efi.status is Status.ABSENT:
        platform.uefi, platform.secure_boot = False, False
    elif values := mapping(efi.json()):
        platform.uefi = values.get("uefi") is True
        state = values.get("SecureBoot")
        platform.secure_boot = bool(state) if state in {0, 1} else None
    tpm = probes.read("tpm")
    if tpm.status is Status.ABSENT:
        platform.tpm = ""
    elif chips := mapping(tpm.json()):
        versions = [str(mapping(c).get("tpm_version_major", "")) for c in chips.values()]
        platform.tpm = max(versions) or None


def _system(probes: Probes, platform: Platform) -> None:
    kernel = probes.read("kernel")
    match = re.match(r"Linux version (\S+)", kernel.text)
    platform.kernel = match.group(1) if match else None
    release = dict(
        re.findall(r'^([A-Z_]+)="?([^"\n]*)"?$', probes.read("os-release").text, re.MULTILINE)
    )
    platform.os_id, platform.os_version = release.get("ID"), release.get("VERSION_ID")
    platform.os_name = release.get("PRETTY_NAME")
    virt = probes.read("virt")
    if "microsoft" in kernel.text.lower():
        platform.virtualisation = "wsl"
    elif virt.ok and re.fullmatch(r"[a-z0-9-]+\s*", virt.text):
        platform.virtualisation = virt.text.strip()
    elif probes.read("cpuinfo").ok:
        hypervisor = "hypervisor" in parse_cpu(probes).flags
        platform.virtualisation = "vm-other" if hypervisor else None


def _engine(probes: Probes, platform: Platform) -> None:
    reading = probes.read("docker")
    if reading.status is Status.NO_TOOL:
        platform.docker, platform.nvidia_runtime = "", False
        return
    docker = mapping(reading.json())
    if docker.get("version"):
        platform.docker = str(docker["version"])
        platform.nvidia_runtime = "nvidia" in mapping(docker.get("runtimes"))


def _clock(probes: Probes) -> bool | None:
    kernel = mapping(probes.read("adjtimex").json())
    state, status = integer(kernel.get("state")), integer(kernel.get("status"))
    if state is not None and status is not None:
        return not (status & _STA_UNSYNC) and state != _TIME_ERROR
    shown = _timedatectl(probes.read("timedatectl").text)
    return {"yes": True, "no": False}.get(shown.get("NTPSynchronized", ""))


def _timedatectl(text: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _hottest(probes: Probes) -> float | None:
    chips = mapping(probes.read("sensors").json())
    values = [
        integer(value)
        for chip in chips.values()
        for key, value in mapping(chip).items()
        if re.fullmatch(r"temp\d+_input", key)
    ]
    known = [v / 1000 for v in values if v is not None]
    return max(known) if known else None
