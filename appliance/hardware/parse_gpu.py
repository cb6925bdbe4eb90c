"""Cards and driver from NVML, else nvidia-smi, else the PCI bus alone."""

from __future__ import annotations

import re
from typing import Any

from appliance.hardware.inventory import Driver, Gpu
from appliance.hardware.readings import Probes, Status
from appliance.hardware.values import decimal, flag, integer, mapping

NVIDIA = "0x10de"
MIB = 1 << 20
# GT/s a lane -> PCIe generation (PCI-SIG base specifications 1 to 6)
_GENERATIONS = {"2.5": 1, "5.0": 2, "5": 2, "8.0": 3, "8": 3, "16.0": 4, "16": 4}
_GENERATIONS |= {"32.0": 5, "32": 5, "64.0": 6, "64": 6}
_SMI_COLUMNS = 18
_ADDRESS = re.compile(r"(?:[0-9a-fA-F]{4})?([0-9a-fA-F]{4}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7])")
_LARGEST_BAR = 1  # BAR1 is the aperture onto the card's memory


def parse_driver(probes: Probes) -> Driver:
    """Read the driver's version, its kind of kernel module and CUDA's version."""
    driver = Driver()
    proc = probes.read("nvidia-version")
    if proc.ok:
        line = next((x for x in proc.text.splitlines() if x.startswith("NVRM version")), "")
        match = re.search(r"\s(\d{3,}\.\d+(?:\.\d+)?)\s", line)
        if match:
            driver.version, driver.source = match.group(1), "proc"
            driver.open_module = "Open Kernel Module" in line
    elif proc.status is Status.ABSENT:
        driver.version = ""
    nvml = mapping(probes.read("nvml").json())
    if nvml.get("driver"):
        driver.version, driver.source = str(nvml["driver"]), "nvml"
        driver.cuda = nvml.get("cuda")
        driver.peers = [p for p in nvml.get("peers") or [] if isinstance(p, dict)]
    elif (rows := _smi_rows(probes)) and re.fullmatch(r"[\d.]+", rows[0][3]):
        driver.version, driver.source = rows[0][3], "nvidia-smi"
        said = probes.read("nvidia-smi-version").text
        told = re.search(r"^CUDA Version\s*: (\d+\.\d+)\s*$", said, re.MULTILINE)
        driver.cuda = told.group(1) if told else None
    return driver


def parse_gpus(probes: Probes, cards: dict[str, str]) -> list[Gpu] | None:
    """Merge what the bus and the driver say; None when neither can be asked."""
    by_address = _from_pci(probes, cards)
    nvml = mapping(probes.read("nvml").json())
    told = [_from_nvml(mapping(g)) for g in nvml.get("gpus") or []]
    if not told:
        told = [_from_smi(row) for row in _smi_rows(probes)]
    if by_address is None and not told:
        return None
    merged = dict(by_address or {})
    for gpu in told:
        merged[gpu.bus_id] = _merge(merged.get(gpu.bus_id), gpu)
    return [merged[address] for address in sorted(merged)]


def _merge(bus: Gpu | None, told: Gpu) -> Gpu:
    """Let the driver's word win over the bus's, field by field."""
    if bus is None:
        return told
    for name in told.__dataclass_fields__:
        value = getattr(told, name)
        if value is not None:
            setattr(bus, name, value)
    return bus


def address(text: Any) -> str:
    """Return a bus id in the kernel's form: ``00000000:01:00.0`` becomes ``0000:01:00.0``."""
    match = _ADDRESS.fullmatch(str(text).strip())
    return match.group(1).lower() if match else str(text)


def _is_address(text: str) -> bool:
    return _ADDRESS.fullmatch(text) is not None


def _generation(text: Any) -> int | None:
    match = re.match(r"([\d.]+) GT/s", str(text or ""))
    return _GENERATIONS.get(match.group(1)) if match else None


def _width(text: Any) -> int | None:
    width = integer(text)
    return width if width and 0 < width <= 32 else None  # noqa: PLR2004 - 255 means not known


def _from_pci(probes: Probes, cards: dict[str, str]) -> dict[str, Gpu] | None:
    reading = probes.read("pci")
    if reading.status is Status.ABSENT:
        return {}
    table = reading.json()
    if not isinstance(table, dict):
        return None
    found: dict[str, Gpu] = {}
    for where, raw in table.items():
        entry = mapping(raw)
        if entry.get("vendor") != NVIDIA or not str(entry.get("class", "")).startswith("0x03"):
            continue
        ids = f"10de:{str(entry.get('device', '')).removeprefix('0x').lower()}"
        slot = mapping(table.get(str(entry.get("parent"))))
        bars = [b for b in entry.get("bars") or [] if isinstance(b, int)]
        found[where] = Gpu(
            bus_id=where,
            name=cards.get(ids),
            pci_id=ids,
            kernel_driver=entry.get("driver") or "",
            pcie_gen=_generation(entry.get("current_link_speed")),
            pcie_gen_max=_lowest(_generation(entry.get("max_link_speed")),
                                 _generation(slot.get("max_link_speed"))),
            pcie_width=_width(entry.get("current_link_width")),
            pcie_width_max=_width(entry.get("max_link_width")),
            slot_width=_width(slot.get("max_link_width")),
            bar1_bytes=max(bars) if len(bars) > _LARGEST_BAR else None,
        )  # fmt: skip
    return found


def _lowest(*values: int | None) -> int | None:
    known = [v for v in values if v is not None]
    return min(known) if known else None


def _from_nvml(raw: dict[str, Any]) -> Gpu:
    watt = {k: integer(raw.get(k)) for k in ("power_limit_mw", "power_limit_max_mw", "power_mw")}
    as_watt = {k: v / 1000 if v is not None else None for k, v in watt.items()}
    return Gpu(
        bus_id=address(raw.get("bus_id")),
        name=raw.get("name"),
        vram_bytes=integer(raw.get("memory_bytes")),
        vram_used_bytes=integer(raw.get("memory_used_bytes")),
        compute=raw.get("compute"),
        pcie_gen=integer(raw.get("pcie_gen")),
        pcie_gen_max=integer(raw.get("pcie_gen_max")),
        pcie_width=_width(raw.get("pcie_width")),
        pcie_width_max=_width(raw.get("pcie_width_max")),
        bar1_bytes=integer(raw.get("bar1_bytes")),
        power_limit_w=as_watt["power_limit_mw"],
        power_limit_max_w=as_watt["power_limit_max_mw"],
        power_w=as_watt["power_mw"],
        temperature_c=decimal(raw.get("temperature_c")),
        throttle_reasons=integer(raw.get("throttle_reasons")),
        ecc=raw.get("ecc"),
        ecc_uncorrected=integer(raw.get("ecc_uncorrected")),
        mig=raw.get("mig"),
        nvlinks=integer(raw.get("nvlinks")),
        utilisation_percent=decimal(raw.get("utilisation_percent")),
    )


def _smi_rows(probes: Probes) -> list[list[str]]:
    """Rows of ``nvidia-smi --format=csv,noheader,nounits``; a row of another form is dropped."""
    reading = probes.read("nvidia-smi")
    rows = [[c.strip() for c in line.split(",")] for line in reading.text.splitlines()]
    return [r for r in rows if reading.ok and len(r) == _SMI_COLUMNS and _is_address(r[2])]


def _from_smi(row: list[str]) -> Gpu:
    total, used = decimal(row[4]), decimal(row[5])
    reasons = row[10]
    return Gpu(
        bus_id=address(row[2]),
        name=row[1] or None,
        vram_bytes=round(total * MIB) if total else None,
        vram_used_bytes=round(used * MIB) if used is not None else None,
        power_limit_w=decimal(row[6]),
        power_limit_max_w=decimal(row[7]),
        power_w=decimal(row[8]),
        temperature_c=decimal(row[9]),
        throttle_reasons=int(reasons, 16) if re.fullmatch(r"0x[0-9a-fA-F]+", reasons) else None,
        ecc=flag(row[11], "Enabled", "Disabled"),
        pcie_gen=integer(row[12]),
        pcie_gen_max=integer(row[13]),
        pcie_width=_width(row[14]),
        pcie_width_max=_width(row[15]),
        mig=flag(row[16], "Enabled", "Disabled"),
        compute=row[17] if re.fullmatch(r"\d+\.\d+", row[17]) else None,
    )
