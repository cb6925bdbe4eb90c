"""Verification of one log folder: signature, bundles, tiles, root, kept checkpoints."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from appliance.audit import retention
from appliance.audit.bundles import Chunk, Found, check_bundle, check_chunk, read_or_none
from appliance.audit.frontier import Frontier
from appliance.audit.layout import CHECKPOINT, VKEY
from appliance.audit.note import Checkpoint, Verifier, open_checkpoint
from appliance.audit.tiles import (
    ENTRIES,
    TILE_WIDTH,
    TileHashes,
    entries_path,
    folder_tiles,
    read_bundle,
    tile_path,
    unpack_bundle,
)
from appliance.audit.tree import fold, root_hash
from appliance.audit.verifyjob import Job, LogCheck, take_snapshot, tile_bytes
from appliance.audit.verifystrays import check_pruning, check_strays, check_wal
from appliance.core.errors import ApplianceError
from appliance.core.progress import Progress

CHUNK_BUNDLES = 128  # 32,768 entries: some 0.1 s of work, so that progress shows and cores share
SMALL_LOG_BUNDLES = 256  # below, starting processes costs more than it saves


def check_log(  # noqa: PLR0913 - one parameter an option of the command
    folder: Path,
    verifier: Verifier,
    *,
    number: int | None = None,
    closed: bool = False,
    kept: list[Checkpoint],
    processes: int,
    newer_only: bool,
    progress: Progress,
) -> LogCheck:
    """Verify the log in ``folder`` under ``verifier``; ``number`` when it is a shard of ours."""
    check = LogCheck(folder, verifier.name)
    snapshot = take_snapshot(folder)
    if snapshot.checkpoint is None:
        check.wrong("delete", CHECKPOINT, "there is no checkpoint")
        return check
    try:
        head, note, _ = open_checkpoint(snapshot.checkpoint, verifier)
    except ApplianceError as error:
        check.wrong("signature", CHECKPOINT, f"expected {error.expected}, found {error.found}")
        return check
    if number is not None and note.encode() != snapshot.checkpoint:
        check.wrong("edit", CHECKPOINT, "not in the one form a note has")
    if number is not None and read_or_none(folder / VKEY) != f"{verifier.vkey}\n".encode():
        check.wrong("edit", VKEY, "not in the one form a key has")
    check.size, check.root = head.size, head.root
    job = Job(check, snapshot, number, processes, progress)
    job.pruned = retention.pruned_before(folder) // TILE_WIDTH
    if newer_only and kept:
        within = (k.size for k in kept if k.size <= head.size)
        job.read_from = max(within, default=0) // TILE_WIDTH
    job.expected |= {CHECKPOINT, VKEY}
    _check_complete(job)
    _check_edge(job)
    _check_levels(job)
    _check_root(job)
    for old in kept:
        _check_kept(check, old)
    if number is not None:
        check_wal(job, head, closed=closed)
        check_pruning(job)
        check_strays(job)
    return check


def _check_complete(job: Job) -> None:
    """Re-read all complete bundles and their tiles, in several processes when there are many."""
    check, total = job.check, job.check.size // TILE_WIDTH
    chunks = [
        Chunk(
            check.folder,
            first,
            min(first + CHUNK_BUNDLES, total),
            job.number,
            job.pruned,
            job.read_from,
        )
        for first in range(0, total, CHUNK_BUNDLES)
    ]
    tops: list[bytes] = []
    for number, found in enumerate(_run(chunks, job.processes if total > SMALL_LOG_BUNDLES else 1)):
        tops += found.tops
        check.problems += found.problems
        check.count("entries", found.entries)
        check.count("bytes", found.size)
        check.count("files", found.files)
        check.count("pruned_bundles", found.pruned)
        job.progress.update(min((number + 1) * CHUNK_BUNDLES, total), total, "bundles")
    for n in range(total):
        job.expected |= {entries_path(n), tile_path(0, n)}
    job.levels = [[], tops]
    if total and total > job.pruned:
        job.check.first_entry = _entry_at(job, 0)


def _run(chunks: list[Chunk], processes: int) -> Iterator[Found]:
    if processes <= 1 or len(chunks) <= 1:
        yield from map(check_chunk, chunks)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
        yield from pool.map(check_chunk, chunks)


def _entry_at(job: Job, index: int) -> bytes | None:
    try:
        return read_bundle(job.check.folder, index // TILE_WIDTH, index % TILE_WIDTH + 1)[-1]
    except (LookupError, ValueError):
        return None


def _check_edge(job: Job) -> None:
    """Check the incomplete bundle and its tile."""
    check = job.check
    n, width = divmod(check.size, TILE_WIDTH)
    if width:
        tile, bundle = tile_bytes(job, 0, n, width), tile_bytes(job, ENTRIES, n, width)
        for name, data in ((tile_path(0, n, width), tile), (entries_path(n, width), bundle)):
            if data is None:
                check.wrong("delete", name, "the file is not there")
            else:
                check.count("files")
                check.count("bytes", len(data))
        leaves, entries, problems = check_bundle(n, width, bundle, tile, job.number)
        job.edge = leaves
        check.problems += problems
        check.count("entries", entries)
        if bundle is not None and not problems:
            check.last_entry = unpack_bundle(bundle)[-1]
            if n == 0:
                check.first_entry = unpack_bundle(bundle)[0]
    elif check.size:
        check.last_entry = _entry_at(job, check.size - 1)


def _check_levels(job: Job) -> None:
    """Compare the tiles above level 0 with the hashes made from below."""
    level = 1
    while job.levels[level]:
        hashes = job.levels[level]
        above: list[bytes] = []
        for n in range(0, len(hashes), TILE_WIDTH):
            part = hashes[n : n + TILE_WIDTH]
            name = tile_path(level, n // TILE_WIDTH, len(part))
            data = tile_bytes(job, level, n // TILE_WIDTH, len(part))
            if data is None:
                job.check.wrong("delete", name, "the tile is not there")
            elif data != b"".join(part):
                job.check.wrong("edit", name, "is not made of the tiles below it")
            else:
                job.check.count("files")
                job.check.count("bytes", len(data))
            if len(part) == TILE_WIDTH:
                above.append(fold(part))
        job.levels.append(above)
        level += 1


def _check_root(job: Job) -> None:
    """Compute the root from the hashes at the right edge and compare it with the signed one."""
    tree = Frontier()
    tree.levels = [job.edge] + [
        hashes[len(hashes) // TILE_WIDTH * TILE_WIDTH :] for hashes in job.levels[1:]
    ]
    if tree.root() != job.check.root and not job.check.problems:
        what = f"the entries lead to root {tree.root().hex()}, signed is {job.check.root.hex()}"
        job.check.wrong("rewrite", CHECKPOINT, what)


def _check_kept(check: LogCheck, old: Checkpoint) -> None:
    """Compare with a checkpoint somebody kept: the log must extend it."""
    if old.size > check.size:
        what = f"{old.size} entries were signed and kept, {check.size} are here"
        check.wrong("older-copy", CHECKPOINT, what)
        return
    try:
        root = root_hash(old.size, TileHashes(check.size, folder_tiles(check.folder)))
    except (LookupError, ValueError) as error:
        check.wrong("edit", "tile", str(error))
        return
    if root != old.root:
        check.wrong("fork", CHECKPOINT, f"another history of the first {old.size} entries")
    check.count("kept_checkpoints")
