"""Collect every reading of this machine, the slow ones side by side."""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from appliance.hardware import trees
from appliance.hardware.readings import FixedProbes, Reading, Status
from appliance.hardware.system import System

FILES = {
    "meminfo": "/proc/meminfo",
    "kernel": "/proc/version",
    "os-release": "/etc/os-release",
    "nvidia-version": "/proc/driver/nvidia/version",
    "governor": "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
}
TREES: dict[str, Callable[[System], Reading]] = {
    "cpuinfo": trees.cpuinfo,
    "dmi": trees.dmi,
    "edac": trees.edac,
    "efi": trees.efi,
    "iommu": trees.iommu,
    "net": trees.net,
    "pci": trees.pci,
    "sensors": trees.sensors,
    "tpm": trees.tpm,
}
LSBLK = "NAME,KNAME,TYPE,SIZE,ROTA,TRAN,MODEL,FSTYPE,MOUNTPOINTS"
COMMANDS = {
    "lsblk": ("lsblk", "-J", "-b", "-o", LSBLK),
    "df": ("df", "-P", "-B1", "-l"),
    "dmidecode": ("dmidecode", "-t", "memory"),
    "docker": ("docker", "info", "--format", ('{"version":{{json .ServerVersion}},'
               '"runtimes":{{json .Runtimes}}}')),
    "timedatectl": ("timedatectl", "show", "-p", "NTP", "-p", "NTPSynchronized"),
    "virt": ("systemd-detect-virt",),
}  # fmt: skip
SMI_FIELDS = (
    "index,name,pci.bus_id,driver_version,memory.total,memory.used,power.limit,"
    "power.max_limit,power.draw,temperature.gpu,clocks_event_reasons.active,ecc.mode.current,"
    "pcie.link.gen.current,pcie.link.gen.max,pcie.link.width.current,pcie.link.width.max,"
    "mig.mode.current,compute_cap"
)
SMI = ("nvidia-smi", f"--query-gpu={SMI_FIELDS}", "--format=csv,noheader,nounits")

_ADJTIMEX_WORDS = 32  # struct timex is 208 bytes on 64-bit Linux (adjtimex(2)); 26 longs, and room
_STATUS_WORD = 5  # modes, offset, freq, maxerror, esterror, status: longs on 64-bit


def adjtimex() -> Reading:
    """Ask the kernel whether its clock is synchronised (adjtimex(2) with modes 0: read only)."""
    words = (ctypes.c_long * _ADJTIMEX_WORDS)()
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(words)
    except (OSError, AttributeError):
        return Reading(Status.FAILED, reason="the C library has no adjtimex")
    if state < 0:
        return Reading(Status.FAILED, reason=f"adjtimex: errno {ctypes.get_errno()}")
    status = words[_STATUS_WORD] & 0xFFFF_FFFF
    return Reading(Status.OK, json.dumps({"state": int(state), "status": int(status)}))


def smart_disks(lsblk: Reading) -> list[str]:
    """Name the real disks of an ``lsblk`` reading (not zram, loop or virtio)."""
    table = lsblk.json()
    rows = table.get("blockdevices", []) if isinstance(table, dict) else []
    names = [str(r.get("name", "")) for r in rows if isinstance(r, dict)]
    return [n for n in names if n.startswith(("nvme", "sd")) and n.isalnum()]


def block_devices_only(df: Reading) -> Reading:
    """Keep of ``df`` the head and the file systems on block devices."""
    lines = df.text.splitlines(keepends=True)
    kept = lines[:1] + [line for line in lines[1:] if line.startswith("/dev/")]
    return Reading(df.status, "".join(kept), df.reason)


def collect(
    system: System, nvml: Callable[[], Reading], *, nvidia_present: Callable[[], bool]
) -> FixedProbes:
    """Read everything once. Programs run side by side; the files are read meanwhile."""
    with ThreadPoolExecutor(max_workers=len(COMMANDS) + 1) as pool:
        commands = {name: pool.submit(system.run, argv) for name, argv in COMMANDS.items()}
        gpu = pool.submit(gpu_readings, system, nvml, nvidia_present)
        readings = {name: system.text(path) for name, path in FILES.items()}
        readings |= {name: walk(system) for name, walk in TREES.items()}
        readings["adjtimex"] = adjtimex()
        uid = os.geteuid()
        readings["user"] = Reading(Status.OK, json.dumps({"root": uid == 0}))
        lsblk = commands["lsblk"].result()
        smart = {
            f"smart-{name}": pool.submit(
                system.run, ("smartctl", "-j", "-i", "-H", "-A", f"/dev/{name}")
            )
            for name in smart_disks(lsblk)
        }
        readings |= {name: future.result() for name, future in (commands | smart).items()}
        readings["df"] = block_devices_only(readings["df"])
        readings |= gpu.result()
    return FixedProbes(readings)


def gpu_readings(
    system: System, nvml: Callable[[], Reading], nvidia_present: Callable[[], bool]
) -> dict[str, Reading]:
    """Ask NVML; ask nvidia-smi only when NVML could not answer (it takes ten times as long)."""
    if not nvidia_present():
        none = Reading(Status.ABSENT, reason="no NVIDIA driver is loaded")
        return {"nvml": none, "nvidia-smi": none}
    first = nvml()
    if first.ok:
        return {"nvml": first, "nvidia-smi": Reading(Status.ABSENT, reason="NVML answered")}
    second = system.run(SMI)
    if not second.ok:
        return {"nvml": first, "nvidia-smi": second}
    version = system.run(("nvidia-smi", "--version"))
    return {"nvml": first, "nvidia-smi": second, "nvidia-smi-version": version}
