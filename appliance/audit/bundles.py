"""Re-reading entry bundles: do the entries, the tile over them and their own stamps agree?

Pure where it judges (:func:`check_bundle`), and able to run in several processes
(:func:`check_chunk`), because a full verification hashes every byte of the log.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from appliance.audit.tiles import TILE_WIDTH, entries_path, tile_path, unpack_bundle
from appliance.audit.tree import HASH_BYTES, fold, leaf_hash

TAIL_BYTES = 160  # the writer's stamp stands in the last bytes of an entry
_STAMP = re.compile(
    rb',"written":\{"at":"[^"]{27}","log":(\d+),"n":(\d+),"pid":\d+,"uid":\d+\}\}\Z'
)


@dataclass(frozen=True)
class Problem:
    """What is wrong, where, and what was seen."""

    name: str
    place: str
    what: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class Chunk:
    """Complete bundles ``first`` to ``last`` (not included) of a log folder."""

    folder: Path
    first: int
    last: int
    log: int | None  # the shard's number; None for a log of another maker
    pruned: int = 0  # bundles below this may be missing
    read_entries: int = 0  # bundles below this are taken from their tiles


@dataclass
class Found:
    """What a chunk came to: the roots of its bundles, what was read, what is wrong."""

    tops: list[bytes] = field(default_factory=list)
    entries: int = 0
    size: int = 0
    files: int = 0
    pruned: int = 0
    problems: list[Problem] = field(default_factory=list)


def split_tile(data: bytes) -> list[bytes]:
    """Cut a hash tile into its hashes."""
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


def check_stamps(entries: Sequence[bytes], first: int, log: int) -> list[Problem]:
    """Check that every entry says the shard and index where it stands."""
    problems = []
    for index, entry in enumerate(entries, first):
        match = _STAMP.search(entry[-TAIL_BYTES:])
        said = (int(match[1]), int(match[2])) if match else None
        if said != (log, index):
            what = f"says it is entry {said[1]} of log {said[0]}" if said else "has no stamp"
            problems.append(Problem("swap" if said else "edit", f"entry {index}", what))
    return problems


def judge(n: int, entries: Sequence[bytes], leaves: Sequence[bytes]) -> list[Problem]:
    """Name what happened to a bundle whose entries are not those under its tile."""
    hashes = [leaf_hash(entry) for entry in entries]
    if hashes == list(leaves):
        return []
    place = entries_path(n)
    first = n * TILE_WIDTH
    if len(hashes) < len(leaves):
        name = "truncate" if hashes == list(leaves[: len(hashes)]) else "delete"
        what = f"{len(hashes)} entries where the tile has {len(leaves)}"
        return [Problem(name, place, what)]
    if len(hashes) > len(leaves):
        return [Problem("insert", place, f"{len(hashes)} entries, the tile has {len(leaves)}")]
    wrong = [first + i for i, h in enumerate(hashes) if h != leaves[i]]
    if sorted(hashes) == sorted(leaves):
        return [Problem("swap", f"entries {wrong[0]} to {wrong[-1]}", "in another order")]
    return [Problem("edit", f"entry {i}", "is not what its tile says") for i in wrong[:16]]


def check_bundle(
    n: int, width: int, bundle: bytes | None, tile: bytes | None, log: int | None
) -> tuple[list[bytes], int, list[Problem]]:
    """Judge one bundle and the tile over it; return the leaf hashes to go on with.

    ``None`` means that the file is not there; the caller knows whether it may be missing.
    """
    problems: list[Problem] = []
    leaves: list[bytes] = []
    if tile is not None and len(tile) != width * HASH_BYTES:
        problems.append(Problem("edit", tile_path(0, n, width), f"has {len(tile)} bytes"))
    elif tile is not None:
        leaves = split_tile(tile)
    if bundle is None:
        return leaves, 0, problems
    try:
        entries = unpack_bundle(bundle)
    except ValueError as error:
        return leaves, 0, [*problems, Problem("edit", entries_path(n, width), str(error))]
    hashes = [leaf_hash(entry) for entry in entries]
    if leaves and hashes != leaves:
        problems += judge(n, entries, leaves)
    elif len(entries) != width:
        what = f"{len(entries)} entries instead of {width}"
        problems.append(Problem("truncate", entries_path(n, width), what))
    elif log is not None:
        problems += check_stamps(entries, n * TILE_WIDTH, log)
    return leaves or hashes, len(entries), problems


def read_or_none(path: Path) -> bytes | None:
    """Return the bytes of ``path``, or ``None`` when it is not there."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def check_chunk(chunk: Chunk) -> Found:
    """Re-read the bundles of a chunk and the level-0 tiles over them."""
    found = Found()
    for n in range(chunk.first, chunk.last):
        tile = read_or_none(chunk.folder / tile_path(0, n))
        bundle = None
        if n >= chunk.read_entries:
            bundle = read_or_none(chunk.folder / entries_path(n))
        if tile is None:
            found.problems.append(Problem("delete", tile_path(0, n), "the tile is not there"))
        if bundle is None and n >= chunk.read_entries:
            if n < chunk.pruned:
                found.pruned += 1
            else:
                what = "the entry bundle is not there"
                found.problems.append(Problem("delete", entries_path(n), what))
        leaves, entries, problems = check_bundle(n, TILE_WIDTH, bundle, tile, chunk.log)
        found.problems += problems
        found.tops.append(fold(leaves))
        found.entries += entries
        found.files += (tile is not None) + (bundle is not None)
        found.size += len(tile or b"") + len(bundle or b"")
    return found
