"""The files of C2SP tlog-tiles: names, widths, entry bundles, and hashes read back from them.

A log folder holds ``checkpoint``, ``tile/<L>/<N>[.p/<W>]`` and ``tile/entries/<N>[.p/<W>]``.
"""

from __future__ import annotations

import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from appliance.audit.tree import HASH_BYTES, fold

TILE_WIDTH: Final = 256
TILE_HEIGHT: Final = 8
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 65_535  # the length prefix of an entry bundle is a uint16
CACHED_TILES: Final = 512  # 8 kB each: 4 MiB, the tiles of any one proof many times over
ENTRIES: Final = "entries"

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<n>(?:x[0-9]{3}/)*[0-9]{3})"
    r"(?:\.p/(?P<w>[1-9][0-9]{0,2}))?"
)

TileFetch = Callable[[int, int, int], bytes]
"""Returns the first ``width`` hashes of tile ``(level, n)``; raises ``LookupError`` when absent."""


def encode_index(n: int) -> str:
    """Write a tile index as path elements: 1234067 is ``x001/x234/067``."""
    text = f"{n % 1000:03d}"
    while n >= 1000:  # noqa: PLR2004 - three digits a path element, by the specification
        n //= 1000
        text = f"x{n % 1000:03d}/{text}"
    return text


def tile_path(level: int | str, n: int, width: int = TILE_WIDTH) -> str:
    """Return the path of a tile; ``level`` is a number, or ``"entries"`` for an entry bundle."""
    path = f"tile/{level}/{encode_index(n)}"
    return path if width == TILE_WIDTH else f"{path}.p/{width}"


def entries_path(n: int, width: int = TILE_WIDTH) -> str:
    """Return the path of an entry bundle."""
    return tile_path(ENTRIES, n, width)


def parse_path(path: str) -> tuple[int | str, int, int]:
    """Read ``(level, n, width)`` back from a path; raise ``ValueError`` for any other name."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise ValueError("not a tile path")
    level: int | str = match["level"]
    level = ENTRIES if level == ENTRIES else int(level)
    n = int(match["n"].replace("x", "").replace("/", ""))
    width = int(match["w"]) if match["w"] else TILE_WIDTH
    if (isinstance(level, int) and level > MAX_LEVEL) or tile_path(level, n, width) != path:
        raise ValueError("not a tile path")
    if match["w"] and width >= TILE_WIDTH:
        raise ValueError("a partial tile has at most 255 hashes")
    return level, n, width


def tile_width(level: int, n: int, size: int) -> int:
    """Return how many hashes tile ``(level, n)`` has in a tree of ``size`` leaves (0: no tile)."""
    return max(0, min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - n * TILE_WIDTH))


def tiles_of(size: int, since: int = 0) -> Iterator[tuple[int, int, int]]:
    """Yield ``(level, n, width)`` of the hash tiles of a tree of ``size`` leaves.

    With ``since``, only those that a tree of that size did not have in full width.
    """
    for level in range(MAX_LEVEL + 1):
        end = size >> (TILE_HEIGHT * level)
        if not end:
            return
        start = since >> (TILE_HEIGHT * level)
        if start == end:
            continue
        for n in range(start // TILE_WIDTH, (end + TILE_WIDTH - 1) // TILE_WIDTH):
            yield level, n, tile_width(level, n, size)


def pack_bundle(entries: Iterable[bytes]) -> bytes:
    """Write an entry bundle: every entry after its length as a big-endian uint16."""
    parts: list[bytes] = []
    for entry in entries:
        if len(entry) > MAX_ENTRY_BYTES:
            raise ValueError(f"an entry has at most {MAX_ENTRY_BYTES} bytes, not {len(entry)}")
        parts += [struct.pack(">H", len(entry)), entry]
    return b"".join(parts)


def unpack_bundle(data: bytes) -> list[bytes]:
    """Read an entry bundle; raise ``ValueError`` when it is cut or has more than 256 entries."""
    entries: list[bytes] = []
    position = 0
    while position < len(data):
        length = int.from_bytes(data[position : position + 2], "big")
        end = position + 2 + length
        if position + 2 > len(data) or end > len(data):
            raise ValueError("the entry bundle is cut short")
        entries.append(data[position + 2 : end])
        position = end
        if len(entries) > TILE_WIDTH:
            raise ValueError(f"an entry bundle has at most {TILE_WIDTH} entries")
    return entries


class TileHashes:
    """A :data:`~appliance.audit.tree.HashReader` over the tiles of a tree of ``size`` leaves.

    Raises ``LookupError`` for a node outside the tree or a tile that is not there, ``ValueError``
    for a tile of the wrong length.
    """

    def __init__(self, size: int, fetch: TileFetch) -> None:
        self.size = size
        self._fetch = fetch
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    def __call__(self, level: int, index: int) -> bytes:
        """Return the hash of a complete node."""
        if (index + 1) << level > self.size:
            raise LookupError(f"node {level}/{index} is not complete in a tree of {self.size}")
        tile_level, height = divmod(level, TILE_HEIGHT)
        n, offset = divmod(index << height, TILE_WIDTH)
        data = self._tile(tile_level, n)
        chosen = data[offset * HASH_BYTES : (offset + (1 << height)) * HASH_BYTES]
        if height == 0:
            return chosen
        return fold([chosen[i : i + HASH_BYTES] for i in range(0, len(chosen), HASH_BYTES)])

    def _tile(self, level: int, n: int) -> bytes:
        key = (level, n)
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        width = tile_width(level, n, self.size)
        data = self._fetch(level, n, width)
        if len(data) != width * HASH_BYTES:
            raise ValueError(f"tile {tile_path(level, n, width)} has {len(data)} bytes")
        self._cache[key] = data
        if len(self._cache) > CACHED_TILES:
            self._cache.popitem(last=False)
        return data


def read_widest(folder: Path, level: int | str, n: int, width: int) -> tuple[bytes, int]:
    """Read a tile or bundle at least ``width`` wide; return its bytes and the width found.

    The exact file comes first, then the full one (a log may drop a partial tile once the full
    one stands), then any wider partial one. Raises ``LookupError`` when there is none.
    """
    partials = folder / f"{tile_path(level, n)}.p"
    wider: list[int] = []
    if partials.is_dir():
        wider = sorted(int(p.name) for p in partials.iterdir() if p.name.isdecimal())
    for candidate in (width, TILE_WIDTH, *(w for w in wider if w > width)):
        try:
            return (folder / tile_path(level, n, candidate)).read_bytes(), candidate
        except FileNotFoundError:
            continue
    raise LookupError(f"{tile_path(level, n, width)} is not there")


def folder_tiles(folder: Path) -> TileFetch:
    """Return a fetch that reads the hash tiles of a log folder."""

    def fetch(level: int, n: int, width: int) -> bytes:
        return read_widest(folder, level, n, width)[0][: width * HASH_BYTES]

    return fetch


def read_bundle(folder: Path, n: int, width: int) -> list[bytes]:
    """Read the first ``width`` entries of bundle ``n`` of a log folder.

    Raises ``LookupError`` when the bundle is not there, ``ValueError`` when it is damaged.
    """
    entries = unpack_bundle(read_widest(folder, ENTRIES, n, width)[0])
    if len(entries) < width:
        raise ValueError(f"{entries_path(n, width)} has {len(entries)} entries")
    return entries[:width]
