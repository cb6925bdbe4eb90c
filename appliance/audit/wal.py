"""The write-ahead file: what makes an entry durable before its index is given out.

A segment ``wal-<start>.log`` begins with a head that says everything needed to go on from its
first leaf: the origin, the start (a multiple of 256), the hashes at the right edge of the tree
there, and the intents still open. Then one record a group commit. Both carry their length, a
checksum over that length (so that a changed length is not mistaken for a torn end) and a checksum
over the payload. A group that did not reach the disk whole was never acknowledged.
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from appliance.audit.tiles import TILE_WIDTH
from appliance.audit.tree import HASH_BYTES
from appliance.core.errors import AuditLogDamagedError

MAGIC: Final = b"AWL1"
HEAD: Final = struct.Struct(">4sII")  # magic, payload length, payload checksum
CHECK: Final = struct.Struct(">I")  # checksum over HEAD
OVERHEAD: Final = HEAD.size + CHECK.size
_NAME = re.compile(r"wal-([0-9]{16})\.log\Z")


def segment_name(start: int) -> str:
    """Return the file name of the segment that starts at leaf ``start``."""
    return f"wal-{start:016d}.log"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Return the segments of a write-ahead folder, oldest first."""
    found = []
    if folder.is_dir():
        for path in folder.iterdir():
            match = _NAME.match(path.name)
            if match:
                found.append((int(match[1]), path))
    return sorted(found)


@dataclass(frozen=True)
class SegmentHead:
    """Where a segment starts, and what must be known there to go on."""

    origin: str
    start: int
    edge: tuple[tuple[bytes, ...], ...]  # hashes of the incomplete tile of each level, 1 upwards
    open_intents: dict[str, int] = field(default_factory=dict)
    last_time: str = ""

    def encode(self) -> bytes:
        """Return the record that opens the segment."""
        value = {
            "edge": [b"".join(level).hex() for level in self.edge],
            "last_time": self.last_time,
            "open": self.open_intents,
            "origin": self.origin,
            "start": self.start,
        }
        return record(json.dumps(value, sort_keys=True).encode())

    @classmethod
    def decode(cls, payload: bytes) -> SegmentHead:
        """Read the head back; raises ``ValueError``, ``KeyError`` or ``TypeError``."""
        value = json.loads(payload)
        levels = []
        for text in value["edge"]:
            data = bytes.fromhex(text)
            levels.append(tuple(data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)))
        if value["start"] % TILE_WIDTH:
            raise ValueError("a segment starts at a multiple of 256")
        opened = {str(k): int(v) for k, v in value["open"].items()}
        return cls(
            str(value["origin"]), value["start"], tuple(levels), opened, str(value["last_time"])
        )


def record(payload: bytes) -> bytes:
    """Return ``payload`` behind its length and checksums."""
    head = HEAD.pack(MAGIC, len(payload), zlib.crc32(payload))
    return head + CHECK.pack(zlib.crc32(head)) + payload


@dataclass(frozen=True)
class Scan:
    """What a segment holds: whole payloads, where they end, and what is wrong after them.

    ``trouble`` is empty, ``"unfinished"`` (the file ends inside a record: a crash) or
    ``"damaged"`` (a checksum is wrong: the bytes were changed, or a crash left a hole).
    """

    payloads: list[bytes]
    end: int
    trouble: str = ""


def scan(data: bytes) -> Scan:
    """Read the records of a segment until its end or the first that is not whole."""
    view = memoryview(data)
    payloads: list[bytes] = []
    position = 0
    while position < len(data):
        if position + OVERHEAD > len(data):
            begun = MAGIC.startswith(data[position : position + len(MAGIC)])
            return Scan(payloads, position, "unfinished" if begun else "damaged")
        magic, length, checksum = HEAD.unpack_from(data, position)
        (check,) = CHECK.unpack_from(data, position + HEAD.size)
        if magic != MAGIC or zlib.crc32(view[position : position + HEAD.size]) != check:
            return Scan(payloads, position, "damaged")
        end = position + OVERHEAD + length
        if end > len(data):
            return Scan(payloads, position, "unfinished")
        payload = bytes(view[position + OVERHEAD : end])
        if zlib.crc32(payload) != checksum:
            return Scan(payloads, position, "damaged")
        payloads.append(payload)
        position = end
    return Scan(payloads, position)


def pack_entries(entries: Sequence[bytes]) -> bytes:
    """Return the payload of a group: as in an entry bundle, without the limit of 256."""
    parts: list[bytes] = []
    for entry in entries:
        parts += (len(entry).to_bytes(2, "big"), entry)
    return b"".join(parts)


def unpack_entries(payload: bytes) -> list[bytes]:
    """Read the entries of a group; raises ``ValueError`` when the payload is cut."""
    entries: list[bytes] = []
    position, size = 0, len(payload)
    while position < size:
        length = int.from_bytes(payload[position : position + 2], "big")
        position += 2 + length
        if position > size:
            raise ValueError("a cut entry")
        entries.append(payload[position - length : position])
    return entries


@dataclass(frozen=True)
class Replay:
    """Everything the segments of a shard hold, put in one row."""

    head: SegmentHead
    entries: list[bytes]  # from head.start on
    last: Path  # the segment that goes on being written
    end: int  # its whole bytes
    tail: bytes = b""  # what stands behind them
    trouble: str = ""


Loaded = list[tuple[int, Path, bytes]]


def load_segments(folder: Path) -> Loaded:
    """Read the bytes of every segment; one that is retired meanwhile is left out."""
    loaded: Loaded = []
    for start, path in segments(folder):
        with contextlib.suppress(FileNotFoundError):
            loaded.append((start, path, path.read_bytes()))
    return loaded


def read_segments(folder: Path, origin: str) -> Replay | None:
    """Read every segment of ``folder``; ``None`` when there is none (errors: see ``replay``)."""
    return replay(load_segments(folder), origin)


def replay(loaded: Loaded, origin: str) -> Replay | None:
    """Put segments in one row.

    Raises :class:`AuditLogDamagedError` when a segment before the last is not whole, belongs to
    another log, does not join the next, or says something else where two overlap.
    """
    if not loaded:
        return None
    head: SegmentHead | None = None
    entries: list[bytes] = []
    for number, (start, path, data) in enumerate(loaded):
        scanned = scan(data)
        here = _head_of(scanned, path, start, origin)
        if head is None:
            head = here
        if scanned.trouble and number + 1 < len(loaded):
            raise _damaged("whole segments before the last", f"{path.name} {scanned.trouble}")
        _join(entries, start - head.start, _entries_of(scanned, path), path)
    assert head is not None
    _, last, data = loaded[-1]
    scanned = scan(data)
    return Replay(head, entries, last, scanned.end, data[scanned.end :], scanned.trouble)


def _head_of(scanned: Scan, path: Path, start: int, origin: str) -> SegmentHead:
    if not scanned.payloads:
        raise _damaged("a segment with a head", f"{path.name} without one")
    try:
        head = SegmentHead.decode(scanned.payloads[0])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged("a segment with a head", f"{path.name}: {type(error).__name__}") from error
    if (head.start, head.origin) != (start, origin):
        raise _damaged(f"a segment of {origin} from {start}", f"{path.name} of another place")
    return head


def _entries_of(scanned: Scan, path: Path) -> list[bytes]:
    try:
        return [e for payload in scanned.payloads[1:] for e in unpack_entries(payload)]
    except ValueError as error:
        raise _damaged("whole entries", f"{path.name}: {error}") from error


def _join(entries: list[bytes], at: int, more: list[bytes], path: Path) -> None:
    overlap = len(entries) - at
    if overlap < 0 or at < 0:
        raise _damaged("segments that join", f"a gap before {path.name}")
    if entries[at:] != more[:overlap]:
        raise _damaged("segments that agree", f"other entries in {path.name}")
    entries.extend(more[overlap:])


def _damaged(expected: str, found: str) -> AuditLogDamagedError:
    return AuditLogDamagedError(expected=expected, found=found)
