"""The checks of everything but the graphics cards."""

from __future__ import annotations

from appliance.hardware.inventory import Disk
from appliance.hardware.values import version
from appliance.hardware.verdict import Bench, spelled

GIB = 1 << 30
GB = 10**9


def machine_checks(bench: Bench) -> None:
    """Judge processor, memory, disks, platform, engine and clock."""
    _cpu(bench)
    _memory(bench)
    _disks(bench)
    _free(bench)
    _firmware(bench)
    _system(bench)
    _services(bench)


def _cpu(bench: Bench) -> None:
    rule, cpu = bench.profile.cpu, bench.inventory.cpu
    wanted = bench.say("at_least", value=rule.cores_min, unit="")
    good = None if cpu.cores is None else cpu.cores >= rule.cores_min
    bench.judge("cpu.cores", good, wanted.strip(), str(cpu.cores), cores=rule.cores_min,
                topics="cpuinfo")  # fmt: skip
    if rule.flags:
        missing = [f for f in rule.flags if f not in cpu.flags]
        found = bench.say("missing_flags", flags=", ".join(missing)) if missing else ""
        known = not missing if cpu.flags else None
        needed = ", ".join(rule.flags)
        bench.judge("cpu.flags", known, needed, found or needed, topics="cpuinfo")
    if rule.governor and cpu.governor != "":
        good = None if cpu.governor is None else cpu.governor != "powersave"
        bench.judge("cpu.governor", good, "performance", cpu.governor or "", topics="governor")


def _memory(bench: Bench) -> None:
    rule, total = bench.profile.memory, bench.inventory.memory.total_bytes
    low = spelled(rule.gib_min)
    more = rule.gib_recommended
    wanted = (
        bench.say("recommended", value=low, more=spelled(more))
        if more
        else bench.say("at_least", value=low, unit="GiB")
    )
    if total is None:
        bench.unknown("memory.size", wanted, "meminfo")
        return
    found = f"{spelled(total / GIB)} GiB"
    if total >= rule.gib_min * GIB and more and total < more * GIB:
        bench.warn("memory.size", wanted, found, bench.say("fix.memory.size", gib=spelled(more)))
        return
    good = total >= rule.gib_min * GIB
    bench.judge("memory.size", good, wanted, found, gib=spelled(more or rule.gib_min))


def _size(disk: Disk) -> str:
    size = "? GB" if disk.size_bytes is None else f"{disk.size_bytes / GB:.0f} GB"
    return f"{disk.name} {disk.kind} {size}"


def _disks(bench: Bench) -> None:
    rule, disks, say = bench.profile.disks, bench.inventory.disks, bench.say
    if disks is None:
        asked = {
            "disk.system": rule.system_gb_min,
            "disk.data": rule.data_gb_min,
            "disk.health": rule.health,
            "disk.encryption": rule.encryption,
        }
        for name, asked_for in asked.items():
            if asked_for:
                bench.unknown(name, say("installed"), "lsblk")
        return
    fixed = [d for d in disks if d.kind != "usb"]
    system = None
    if rule.system_gb_min is not None:
        system = _system_disk(bench, fixed)
    if rule.data_gb_min is not None:
        rest = [d for d in fixed if d is not system]
        big = [d for d in rest if (d.size_bytes or 0) >= rule.data_gb_min * GB]
        wanted = say("second_disk", value=spelled(rule.data_gb_min))
        found = ", ".join(_size(d) for d in big or rest) or say("no_second_disk")
        bench.judge("disk.data", bool(big), wanted, found, size=spelled(rule.data_gb_min))
    if rule.health:
        _health(bench, fixed)
    if rule.encryption:
        open_disks = [d.name for d in fixed if not d.encrypted]
        found = say("not_encrypted", disks=", ".join(open_disks)) if open_disks else ""
        wanted = say("encrypted")
        bench.judge("disk.encryption", not open_disks, wanted, found or wanted)


def _system_disk(bench: Bench, disks: list[Disk]) -> Disk | None:
    """Judge the disk the system is on, or before installing the best one it could go on."""
    rule = bench.profile.disks
    size = rule.system_gb_min or 0
    kinds = {"nvme", "virtual"} if rule.system_nvme else {d.kind for d in disks}
    fit = [d for d in disks if (d.size_bytes or 0) >= size * GB and d.kind in kinds]
    fit.sort(key=lambda d: ("/" not in d.mountpoints, d.kind != "nvme", d.size_bytes or 0))
    wanted = bench.say("disk_min_nvme" if rule.system_nvme else "disk_min", value=spelled(size))
    found = _size(fit[0]) if fit else ", ".join(_size(d) for d in disks) or bench.say("none")
    if fit and fit[0].kind == "virtual" and rule.system_nvme:
        bench.warn("disk.system", wanted, found, bench.say("fix.disk.system_virtual"))
    else:
        bench.judge("disk.system", bool(fit), wanted, found, size=spelled(size))
    return fit[0] if fit else next((d for d in disks if "/" in d.mountpoints), None)


def _health(bench: Bench, disks: list[Disk]) -> None:
    wanted = bench.say("all_healthy")
    real = [d for d in disks if d.kind in {"nvme", "sata"}]
    if disks and not real:
        found = ", ".join(_size(d) for d in disks)
        bench.warn("disk.health", wanted, found, bench.say("fix.disk.health_virtual"))
        return
    disks = real
    failing = [d.name for d in disks if d.healthy is False]
    unasked = [d.name for d in disks if d.healthy is None]
    if failing:
        found = bench.say("disks_failing", disks=", ".join(failing))
        bench.judge("disk.health", False, wanted, found)  # noqa: FBT003 - judged: no
    elif unasked or not disks:
        bench.unknown("disk.health", wanted, *(f"smart-{name}" for name in unasked))
    else:
        bench.judge("disk.health", True, wanted, wanted)  # noqa: FBT003 - judged: yes


def _free(bench: Bench) -> None:
    need = bench.profile.disks.free_gb_min
    if need is None:
        return
    mounts = [m for m in bench.inventory.free_bytes if _holds(m, bench.state_path)]
    wanted = bench.say("at_least", value=spelled(need), unit="GB")
    if not mounts:
        bench.unknown("disk.free", wanted, "df")
        return
    mount = max(mounts, key=len)
    free = bench.inventory.free_bytes[mount]
    bench.judge("disk.free", free >= need * GB, wanted, f"{free / GB:.0f} GB")


def _holds(mount: str, path: str) -> bool:
    return mount in ("/", path) or path.startswith(mount + "/")


def _firmware(bench: Bench) -> None:
    rule, platform, say = bench.profile.platform, bench.inventory.platform, bench.say
    if rule.uefi:
        found = say("yes") if platform.uefi else say("legacy_boot")
        bench.judge("platform.uefi", platform.uefi, say("yes"), found, topics="efi")
    if rule.secure_boot:
        found = say("on") if platform.secure_boot else say("off")
        state = platform.secure_boot
        bench.judge("platform.secure_boot", state, say("on"), found, topics="efi")
    if rule.tpm:
        chip = platform.tpm
        good = None if chip is None else chip == rule.tpm
        found = say("tpm_other", version=chip) if chip else say("none")
        bench.judge("platform.tpm", good, say("tpm2"), found, topics="tpm")


def _system(bench: Bench) -> None:
    rule, platform, say = bench.profile.platform, bench.inventory.platform, bench.say
    if rule.refuse_virtualisation:
        virt = platform.virtualisation
        refused = ", ".join(rule.refuse_virtualisation)
        good = None if virt is None else virt not in rule.refuse_virtualisation
        found = say("bare_metal") if virt == "none" else str(virt)
        wanted = say("virt_allowed", refused=refused)
        bench.judge("platform.virtualisation", good, wanted, found, virt=found, topics="virt")
    if rule.systems:
        names = f" {say('or')} ".join(f"{s.id} {s.version}" for s in rule.systems)
        found = f"{platform.os_id} {platform.os_version}"
        good = any((s.id, s.version) == (platform.os_id, platform.os_version) for s in rule.systems)
        known = None if platform.os_id is None else good
        bench.judge("platform.os", known, names, found, systems=names, topics="os-release")
    if rule.kernel_min:
        kernel, least = version(platform.kernel), version(rule.kernel_min) or ()
        known = None if kernel is None else kernel >= least
        wanted = say("version_min", version=rule.kernel_min)
        bench.judge("platform.kernel", known, wanted, platform.kernel or "",
                    version=rule.kernel_min, topics="kernel")  # fmt: skip


def _services(bench: Bench) -> None:
    rule, platform, say = bench.profile.platform, bench.inventory.platform, bench.say
    if rule.docker:
        good = None if platform.docker is None else bool(platform.docker)
        found = platform.docker or say("not_installed")
        bench.judge("engine.docker", good, say("installed"), found, topics="docker")
    if rule.nvidia_runtime:
        runtime = platform.nvidia_runtime
        found = say("installed") if runtime else say("not_installed")
        wanted = say("installed")
        bench.judge("engine.nvidia_runtime", runtime, wanted, found, topics="docker")
    if rule.time_synchronised:
        synced = platform.time_synchronised
        found = say("synchronised") if synced else say("not_synchronised")
        wanted = say("synchronised")
        bench.judge("clock.synchronised", synced, wanted, found, topics="adjtimex timedatectl")
