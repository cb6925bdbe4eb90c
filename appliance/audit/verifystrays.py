"""Verification of what stands beside the tiles of a checkpoint: write-ahead file, strays."""

from __future__ import annotations

from pathlib import Path

from appliance.audit import retention
from appliance.audit.bundles import Problem, read_or_none, split_tile
from appliance.audit.layout import WAL
from appliance.audit.note import Checkpoint
from appliance.audit.shardlog import regrow
from appliance.audit.tiles import (
    ENTRIES,
    TILE_WIDTH,
    pack_bundle,
    parse_path,
    tile_path,
    unpack_bundle,
)
from appliance.audit.tree import leaf_hash
from appliance.audit.verifyjob import Job, tile_bytes
from appliance.audit.wal import replay
from appliance.core.canonical import canonical_json
from appliance.core.durable import TEMP_PREFIX, read_json
from appliance.core.errors import ApplianceError


def check_wal(job: Job, head: Checkpoint, *, closed: bool) -> None:
    """The write-ahead file leads to the signed root, and what follows it is whole."""
    check = job.check
    job.expected |= {f"{WAL}/{path.name}" for _, path, _ in job.snapshot.segments}
    try:
        found = replay(job.snapshot.segments, check.origin)
        if found is None:
            if not closed:
                check.wrong("delete", WAL, "there is no write-ahead file")
            return
        _, made = regrow(found, head)
    except ApplianceError as error:
        check.wrong("wal", WAL, f"expected {error.expected}, found {error.found}")
        return
    name = f"{WAL}/{found.last.name}"
    if found.trouble == "damaged":
        check.wrong("wal", name, f"damaged after {found.end} bytes")
    elif found.trouble:
        what = f"ends inside a record after {found.end} bytes, as a crash leaves it"
        check.notes.append(Problem("unfinished", name, what))
    unsigned = found.head.start + len(found.entries) - head.size
    if unsigned:
        what = f"{unsigned} entries wait for the next checkpoint"
        check.notes.append(Problem("unsigned", name, what))
    check.count("wal_entries", len(found.entries))
    for tile, data in made:  # complete tiles a crash left without their checkpoint
        if tile not in job.expected and tile in job.snapshot.files:
            job.expected.add(tile)
            if read_or_none(check.folder / tile) not in {data, None}:
                check.wrong("edit", tile, "is not what the write-ahead file leads to")


def check_pruning(job: Job) -> None:
    """The pruning line is what an entry of the log says, byte for byte."""
    name = retention.LINE_FILE
    if name not in job.snapshot.files:
        return
    job.expected.add(name)
    path = job.check.folder / name
    try:
        same = canonical_json(read_json(path)) + b"\n" == path.read_bytes()
    except ApplianceError:
        same = False
    if not same or not job.pruned:
        job.check.wrong("edit", name, "is not what an entry of the log says")


def check_strays(job: Job) -> None:
    """Name every file that the log does not account for; believe no partial tile unread."""
    check = job.check
    for name in sorted(job.snapshot.files - job.expected):
        if Path(name).name.startswith(TEMP_PREFIX):
            check.notes.append(Problem("unfinished", name, "an interrupted write"))
            continue
        try:
            level, n, width = parse_path(name)
        except ValueError:
            if (check.folder / name).exists():
                check.wrong("stray", name, "the log has no such file")
            continue
        data = job.snapshot.partials.get(name)
        if data is None:
            data = read_or_none(check.folder / name)
        if data is not None and data != _truth(job, level, n, width):
            check.wrong("stray", name, "is not part of the log")


def _truth(job: Job, level: int | str, n: int, width: int) -> bytes | None:
    """Return what a tile or bundle of this place and width must hold, or ``None``."""
    try:
        if level == ENTRIES:
            entries = _bundle_entries(job, n)
            return pack_bundle(entries[:width]) if len(entries) >= width else None
        assert isinstance(level, int)
        if level == 0:
            data = _bundle_leaves(job, n)
        else:
            data = job.levels[level][n * TILE_WIDTH : (n + 1) * TILE_WIDTH]
    except (LookupError, ValueError):
        return None
    return b"".join(data[:width]) if len(data) >= width else None


def _bundle_entries(job: Job, n: int) -> list[bytes]:
    size = job.check.size
    width = min(TILE_WIDTH, size - n * TILE_WIDTH)
    data = tile_bytes(job, ENTRIES, n, width) if width > 0 else b""
    entries = unpack_bundle(data or b"")
    try:
        found = replay(job.snapshot.segments, job.check.origin)
    except ApplianceError:
        found = None  # check_wal has said so
    if len(entries) < TILE_WIDTH and found is not None:  # entries still without a checkpoint
        at = n * TILE_WIDTH + len(entries) - found.head.start
        if at >= 0:
            entries += found.entries[at : at + TILE_WIDTH - len(entries)]
    return entries


def _bundle_leaves(job: Job, n: int) -> list[bytes]:
    complete = job.check.folder / tile_path(0, n)
    if (n + 1) * TILE_WIDTH <= job.check.size and n < job.pruned:
        return split_tile(complete.read_bytes())
    return [leaf_hash(entry) for entry in _bundle_entries(job, n)]
