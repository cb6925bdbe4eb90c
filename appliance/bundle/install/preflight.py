"""Is this machine ready for this bundle? Every failed check says its fix."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Protocol

from appliance.bundle.model import Entry, Manifest
from appliance.core.errors import ClockUnbelievableError, PreflightFailedError
from appliance.core.home import Home
from appliance.core.settings.bundle import BundleSettings


@dataclass(frozen=True)
class Facts:
    """What the machine is; an empty field is not known or not installed."""

    distribution: str = ""
    release: str = ""
    architecture: str = ""
    python: str = ""
    kernel: str = ""
    driver: str = ""
    container_toolkit: str = ""


@dataclass(frozen=True)
class Check:
    """One answer of preflight."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


class Probe(Protocol):
    """How preflight looks at the machine."""

    def facts(self) -> Facts:
        """Return what the machine is."""
        ...

    def free_bytes(self, folder: Path) -> int:
        """Return the free bytes of the file system under ``folder``."""
        ...

    def running_jobs(self) -> list[str]:
        """Name the jobs that must not be cut off."""
        ...


class MachineProbe:
    """The machine this runs on."""

    ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # noqa: RUF012 - never changed

    def __init__(self, home: Home) -> None:
        """Look at the machine that holds ``home``."""
        self.home = home

    def facts(self) -> Facts:
        """Read os-release, the kernel and, when it is loaded, the NVIDIA driver."""
        release = platform.freedesktop_os_release()
        driver = Path("/proc/driver/nvidia/version")
        text = driver.read_text(encoding="ascii", errors="replace") if driver.is_file() else ""
        found = re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text)
        machine = platform.machine()
        return Facts(
            distribution=release.get("ID", ""),
            release=release.get("VERSION_ID", ""),
            architecture=self.ARCHITECTURES.get(machine, machine),
            python=".".join(platform.python_version_tuple()[:2]),
            kernel=platform.release(),
            driver=found.group(1) if found else "",
        )

    def free_bytes(self, folder: Path) -> int:
        """Return the free bytes under the nearest folder that exists."""
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    def running_jobs(self) -> list[str]:
        """Name the pipeline runs whose lock file is held (the kernel drops dead holders)."""
        locks = list(self.home.runs.rglob("*lock")) if self.home.runs.is_dir() else []
        return [str(p.relative_to(self.home.root)) for p in sorted(locks) if _held(p)]


def _held(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def judge_date(
    clock: datetime, attested: date | None, floor: str, created: str, skew_days: int
) -> datetime:
    """Return the moment the bundle is judged at, or refuse a date that cannot be right.

    Freeze protection without a network: the operator's date must agree with the machine's
    clock, and neither may lie before what this machine has already seen or before the bundle
    was made.
    """
    at = clock
    if attested is not None:
        at = datetime.combine(attested, time(12), tzinfo=clock.tzinfo)
        if abs((attested - clock.date()).days) > skew_days:
            raise ClockUnbelievableError(
                expected=f"a clock within {skew_days} day of the attested {attested}",
                found=f"the machine's clock says {clock.date()}",
            )
    slack = timedelta(days=skew_days)
    for moment, what in ((floor, "this machine already saw"), (created, "the bundle was made")):
        if moment and at + slack < datetime.fromisoformat(moment):
            raise ClockUnbelievableError(
                expected=f"a date not before {moment[:10]}, when {what}", found=f"{at.date()}"
            )
    return at


def checks(
    manifest: Manifest,
    entries: Sequence[Entry],
    probe: Probe,
    folder: Path,
    limits: BundleSettings,
) -> list[Check]:
    """Return every check, failed or not."""
    facts = probe.facts()
    copy_bytes = sum(e.length for e in entries)
    need = int(copy_bytes * limits.space_factor) + limits.space_reserve_bytes
    free = probe.free_bytes(folder)
    jobs = probe.running_jobs()
    found = [
        Check(
            "space",
            free >= need,
            f"{free} bytes free, {need} wanted",
            f"free {max(0, need - free)} bytes under {folder}",
        ),
        Check(
            "jobs",
            not jobs,
            f"{len(jobs)} running: {', '.join(jobs[:3])}" if jobs else "none running",
            "wait for the run to end, or cancel it with `appliance train cancel`",
        ),
    ]
    images = {c.path for c in manifest.contents if c.kind == "image"}
    packed = sum(e.length for e in entries if e.path in images)
    if packed:
        found.append(_engine(packed, probe, limits))
    return found + _machine(manifest, facts) + tuple_checks(manifest, facts)


def _engine(packed: int, probe: Probe, limits: BundleSettings) -> Check:
    """Check the space that the engine unpacks images into; that is another disk than the data's."""
    where = Path(limits.engine_folder)
    need, free = int(packed * limits.image_space_factor), probe.free_bytes(where)
    fix = (
        f"free {max(0, need - free)} bytes under {where}: `docker image prune --all` removes "
        "images that no container uses; a start of the services brings back what they need"
    )
    return Check("engine space", free >= need, f"{free} bytes free, {need} wanted", fix)


def _machine(manifest: Manifest, facts: Facts) -> list[Check]:
    found = []
    for name in ("distribution", "release", "architecture", "python"):
        wanted, have = getattr(manifest.machine, name), getattr(facts, name)
        if wanted:
            fix = f"use the bundle made for {name} {have}"
            found.append(Check(name, wanted == have, f"{have}, wanted {wanted}", fix))
    return found


def tuple_checks(manifest: Manifest, facts: Facts) -> list[Check]:
    """Compare the compatibility tuple with what is installed; what is absent comes from it."""
    wanted = manifest.compatibility
    found = []
    for name, parts in (("kernel", 2), ("driver", 1), ("container_toolkit", 2)):
        want, have = getattr(wanted, name), getattr(facts, name)
        if want and have:
            ok = _numbers(have)[:parts] >= _numbers(want)[:parts]
            fix = f"update the {name} to {want} or newer from this bundle's packages first"
            found.append(Check(name, ok, f"{have}, wanted {want} or newer", fix))
    return found


def _numbers(version: str) -> list[int]:
    return [int(n) for n in re.findall(r"\d+", version)]


def require(found: list[Check]) -> None:
    """Raise :class:`PreflightFailedError` naming every failed check and its fix."""
    failed = [c for c in found if not c.ok]
    if failed:
        raise PreflightFailedError(
            expected="a machine ready for this bundle",
            found="; ".join(f"{c.name}: {c.detail}" for c in failed),
            remedy="; ".join(f"{c.name}: {c.fix}" for c in failed) + ".",
        )
