"""Every byte of a medium against the signed list, and the list against the medium."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from appliance.bundle.medium import Medium
from appliance.bundle.prove import Wanted, prove
from appliance.bundle.trust import Trusted, older_roots
from appliance.core.errors import ApplianceError, MediumUnreadableError
from appliance.core.progress import Progress
from appliance.core.settings.bundle import BundleSettings


@dataclass(frozen=True)
class Fault:
    """Something wrong on the medium: which block, of what, and why."""

    path: str
    what: str
    error: str
    found: str


@dataclass
class Report:
    """What verify looked at and what it found."""

    trusted: Trusted
    files: int = 0
    chunks: int = 0
    bytes: int = 0
    absent_chunks: int = 0
    faults: list[Fault] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    tolerated: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when every byte is proven and nothing unlisted lies there."""
        return not self.faults and not self.strangers

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "bundle": self.trusted.id,
            "metadata_version": self.trusted.version,
            "root_version": self.trusted.root_version,
            "root_fingerprint": self.trusted.root_fingerprint,
            "expires": self.trusted.expires.isoformat(),
            "judged_at": self.trusted.at.isoformat(),
            "files": self.files,
            "blocks": self.chunks,
            "bytes": self.bytes,
            "blocks_of_base": self.absent_chunks,
            "faults": [vars(f) for f in self.faults],
            "unlisted": self.strangers,
            "tolerated": self.tolerated,
        }


def wanted_blocks(trusted: Trusted) -> tuple[dict[str, Wanted], int]:
    """Return what must lie on the medium, one a block, and how many blocks the base holds."""
    wanted: dict[str, Wanted] = {}
    absent = 0
    for entry in trusted.entries:
        for chunk in entry.chunks:
            if chunk.absent:
                absent += 1
                continue
            path = entry.chunk_path(chunk)
            end = chunk.offset + chunk.length
            what = f"{entry.path} bytes {chunk.offset} to {end}"
            wanted.setdefault(path, Wanted(path, chunk.length, chunk.sha256, what))
    return wanted, absent


def verify(medium: Medium, trusted: Trusted, limits: BundleSettings, progress: Progress) -> Report:
    """Prove every block (in parallel) and name every stranger; raises nothing about blocks."""
    wanted, absent = wanted_blocks(trusted)
    report = Report(trusted, files=len(trusted.entries), absent_chunks=absent)
    _prove_all(medium, list(wanted.values()), report, limits, progress)
    listed = set(wanted) | set(trusted.files)
    try:
        listed |= set(older_roots(medium, trusted.root, limits))
        strangers(medium, listed, report, limits)
    except ApplianceError as error:
        report.faults.append(Fault("metadata", "the medium's listing", error.id, error.found))
    except OSError as error:
        found = error.strerror or "read error"
        report.faults.append(Fault("", "the medium's listing", MediumUnreadableError.id, found))
    return report


def _prove_all(
    medium: Medium,
    blocks: list[Wanted],
    report: Report,
    limits: BundleSettings,
    progress: Progress,
) -> None:
    local = threading.local()
    total = sum(b.length for b in blocks)

    def one(block: Wanted) -> ApplianceError | None:
        if not hasattr(local, "buffer"):
            local.buffer = memoryview(bytearray(limits.buffer_bytes))
        try:
            prove(medium, block, local.buffer)
        except ApplianceError as error:
            return error
        return None

    with ThreadPoolExecutor(limits.workers, thread_name_prefix="verify") as pool:
        for block, error in zip(blocks, pool.map(one, blocks), strict=True):
            if error is None:
                report.chunks += 1
                report.bytes += block.length
            else:
                report.faults.append(Fault(block.path, block.what, error.id, error.found))
            progress.update(report.bytes, total)


def strangers(
    medium: Medium, listed: Iterable[str], report: Report, limits: BundleSettings
) -> None:
    """Add to ``report`` what lies on the medium and no signature names."""
    known = set(listed)
    folders = {path[:i] for path in known for i, c in enumerate(path) if c == "/"}
    for found in medium.walk():
        top = found.path.split("/")[0]
        if top in limits.tolerated_names and found.kind != "link":
            if top == found.path:
                report.tolerated.append(top)
        elif found.kind == "folder" and found.path in folders:
            continue
        elif found.kind != "file" or found.path not in known:
            report.strangers.append(f"{found.kind} {found.path}")
            if len(report.strangers) >= limits.max_unlisted:
                return
