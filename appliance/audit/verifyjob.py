"""What a verification works on: a snapshot of the moving files, and what was found so far."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from appliance.audit.bundles import Problem, read_or_none
from appliance.audit.layout import CHECKPOINT, WAL
from appliance.audit.tiles import (
    ENTRIES,
    TILE_WIDTH,
    pack_bundle,
    read_widest,
    tile_path,
    unpack_bundle,
)
from appliance.audit.tree import HASH_BYTES
from appliance.audit.wal import Loaded, load_segments, scan
from appliance.core.progress import Progress


@dataclass
class LogCheck:
    """What the verification of one log came to."""

    folder: Path
    origin: str = ""
    size: int = 0
    root: bytes = b""
    first_entry: bytes | None = None
    last_entry: bytes | None = None
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    def wrong(self, name: str, place: str, what: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(name, place, what))

    def count(self, name: str, by: int = 1) -> None:
        """Count what was looked at."""
        self.checked[name] = self.checked.get(name, 0) + by


@dataclass
class Snapshot:
    """What may change while a writer runs, read at one moment."""

    checkpoint: bytes | None
    files: set[str]
    partials: dict[str, bytes]
    segments: Loaded


def take_snapshot(folder: Path) -> Snapshot:
    """Read the moving parts while the writer changes no checkpoint (it waits a few seconds)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        checkpoint = read_or_none(folder / CHECKPOINT)
        files = {p.relative_to(folder).as_posix() for p in _walk(folder)}
        partials = {f: (folder / f).read_bytes() for f in files if ".p/" in f}
        return Snapshot(checkpoint, files, partials, _settled_segments(folder / WAL))
    finally:
        os.close(fd)


def _walk(folder: Path) -> Iterator[Path]:
    for base, _, names in os.walk(folder):
        for name in names:
            yield Path(base) / name


def _settled_segments(folder: Path) -> Loaded:
    """Load the segments; while a group is being written the last one is read again."""
    loaded = load_segments(folder)
    for _ in range(5):
        if not loaded or scan(loaded[-1][2]).trouble != "damaged":
            break
        time.sleep(0.02)
        again = load_segments(folder)
        if [len(x[2]) for x in again] == [len(x[2]) for x in loaded]:
            return again
        loaded = again
    return loaded


@dataclass
class Job:
    """One verification under way."""

    check: LogCheck
    snapshot: Snapshot
    number: int | None
    processes: int
    progress: Progress
    read_from: int = 0  # bundles below are taken from their tiles
    pruned: int = 0  # bundles below may be missing
    levels: list[list[bytes]] = field(default_factory=list)
    edge: list[bytes] = field(default_factory=list)  # leaves of the incomplete bundle
    expected: set[str] = field(default_factory=set)


def tile_bytes(job: Job, level: int | str, n: int, width: int) -> bytes | None:
    """Return a tile's bytes: from the snapshot when partial, else from the disk."""
    name = tile_path(level, n, width)
    job.expected.add(name)
    data = job.snapshot.partials.get(name)
    if data is None and width == TILE_WIDTH:
        data = read_or_none(job.check.folder / name)
    if data is None and job.number is None:  # a log of another maker may keep only wider tiles
        try:
            wide, _ = read_widest(job.check.folder, level, n, width)
        except LookupError:
            return None
        if level == ENTRIES:
            try:
                return pack_bundle(unpack_bundle(wide)[:width])
            except ValueError:
                return wide
        return wide[: width * HASH_BYTES]
    return data
