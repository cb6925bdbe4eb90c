"""The right edge of the growing tree: entries in, complete tiles and the root out.

It holds the entries of the incomplete bundle and the hashes of the incomplete tile of each level,
at most 255 of each: memory does not grow with the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from appliance.audit.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, pack_bundle, tile_path
from appliance.audit.tree import EMPTY_ROOT, fold, node_hash
from appliance.audit.wal import SegmentHead

_sha256 = hashlib.sha256


class Frontier:
    """A tree of ``size`` leaves that can be appended to."""

    def __init__(self, start: int = 0, edge: Sequence[Sequence[bytes]] = ()) -> None:
        """Begin at ``start`` (a multiple of 256) with the incomplete tiles of levels 1 upwards."""
        self.size = start
        self.entries: list[bytes] = []
        self.levels: list[list[bytes]] = [[], *(list(level) for level in edge)]
        for level, hashes in enumerate(self.levels):
            if len(hashes) != (start >> (TILE_HEIGHT * level)) % TILE_WIDTH:
                raise ValueError(f"{len(hashes)} hashes at level {level} of {start} leaves")
        if start >> (TILE_HEIGHT * len(self.levels)):
            raise ValueError(f"too few levels for {start} leaves")

    def append(self, entries: Sequence[bytes]) -> list[tuple[str, bytes]]:
        """Add ``entries``; return the complete tiles and bundles this makes, as (path, bytes)."""
        made: list[tuple[str, bytes]] = []
        leaves = self.levels[0]
        for entry in entries:
            self.entries.append(entry)
            leaves.append(_sha256(b"\x00" + entry).digest())
            self.size += 1
            if len(leaves) == TILE_WIDTH:
                n = self.size // TILE_WIDTH - 1
                made.append((tile_path(ENTRIES, n), pack_bundle(self.entries)))
                self.entries = []
                self._complete(0, made)
                leaves = self.levels[0]
        return made

    def _complete(self, level: int, made: list[tuple[str, bytes]]) -> None:
        hashes = self.levels[level]
        n = (self.size >> (TILE_HEIGHT * (level + 1))) - 1
        made.append((tile_path(level, n), b"".join(hashes)))
        self.levels[level] = []
        if level + 1 == len(self.levels):
            self.levels.append([])
        above = self.levels[level + 1]
        above.append(fold(hashes))
        if len(above) == TILE_WIDTH:
            self._complete(level + 1, made)

    def partials(self) -> list[tuple[str, bytes]]:
        """Return the incomplete tiles and the incomplete bundle, as (path, bytes)."""
        made: list[tuple[str, bytes]] = []
        n = self.size // TILE_WIDTH
        if self.entries:
            made.append((tile_path(ENTRIES, n, len(self.entries)), pack_bundle(self.entries)))
        for level, hashes in enumerate(self.levels):
            if hashes:
                n = self.size >> (TILE_HEIGHT * (level + 1))
                made.append((tile_path(level, n, len(hashes)), b"".join(hashes)))
        return made

    def root(self) -> bytes:
        """Return the root over all leaves (RFC 6962): the complete subtrees, joined rightwards."""
        result: bytes | None = None
        for hashes in self.levels:
            end = len(hashes)
            while end:
                width = end & -end
                piece = fold(hashes[end - width : end])
                result = piece if result is None else node_hash(piece, result)
                end -= width
        return EMPTY_ROOT if result is None else result

    def head(self, origin: str, open_intents: dict[str, int], last_time: str) -> SegmentHead:
        """Return the head of a segment that starts at the last multiple of 256."""
        start = self.size - len(self.entries)
        edge = tuple(tuple(level) for level in self.levels[1:])
        return SegmentHead(origin, start, edge, dict(open_intents), last_time)
