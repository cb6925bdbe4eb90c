"""The frames on the writer's socket: small, length-prefixed, the same both ways.

A frame is ``b"AL"``, a version byte, a kind byte, the payload's length (uint32, big-endian) and
the payload. An append carries whole entries, each after its length (uint32, so that an entry that
is too long can be named and refused). The answer to an append is the index of its first entry:
the entries of one request stand side by side, or none of them stands at all.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from appliance.core.errors import ApplianceError, AuditEntryRefusedError

MAGIC: Final = b"AL\x01"
HEADER: Final = struct.Struct(">3sBI")
LENGTH: Final = struct.Struct(">I")
PLACE: Final = struct.Struct(">QII")
MAX_FRAME_BYTES: Final = 16 << 20  # 256 entries of the largest size, and then some

APPEND, STATUS, SYNC, ROTATE, STOP = 1, 2, 3, 4, 5
REQUESTS: Final = frozenset({APPEND, STATUS, SYNC, ROTATE, STOP})
DONE, REPORT, REFUSED = 65, 66, 67
ANSWERS: Final = frozenset({DONE, REPORT, REFUSED})


@dataclass(frozen=True)
class Frame:
    """One frame: what kind, and its payload."""

    kind: int
    payload: bytes


def frame(kind: int, payload: bytes = b"") -> bytes:
    """Return the bytes of a frame."""
    return HEADER.pack(MAGIC, kind, len(payload)) + payload


def append_frame(bodies: Iterable[bytes]) -> bytes:
    """Return the request to append ``bodies``."""
    parts: list[bytes] = []
    for body in bodies:
        parts += (LENGTH.pack(len(body)), body)
    return frame(APPEND, b"".join(parts))


def done_frame(first: int, count: int, log: int) -> bytes:
    """Return the answer to an append: durable from index ``first`` of shard ``log``."""
    return frame(DONE, PLACE.pack(first, count, log))


def report_frame(value: dict[str, Any]) -> bytes:
    """Return an answer in JSON."""
    return frame(REPORT, json.dumps(value).encode())


def refused_frame(error: ApplianceError) -> bytes:
    """Return the answer that carries ``error``."""
    return frame(REFUSED, json.dumps(error.to_dict()).encode())


def take_frames(buffer: bytearray, kinds: frozenset[int]) -> list[Frame]:
    """Cut the complete frames off the front of ``buffer``.

    Raises :class:`AuditEntryRefusedError` for bytes that are no frame; nothing can be read from
    such a connection any more.
    """
    found: list[Frame] = []
    position = 0
    while len(buffer) - position >= HEADER.size:
        magic, kind, length = HEADER.unpack_from(buffer, position)
        if magic != MAGIC or kind not in kinds:
            raise AuditEntryRefusedError(
                expected="frames of this log's protocol, version 1", found="other bytes"
            )
        if length > MAX_FRAME_BYTES:
            raise AuditEntryRefusedError(
                expected=f"frames of at most {MAX_FRAME_BYTES} bytes", found=f"{length} bytes"
            )
        end = position + HEADER.size + length
        if end > len(buffer):
            break
        found.append(Frame(kind, bytes(memoryview(buffer)[position + HEADER.size : end])))
        position = end
    if position:
        del buffer[:position]
    return found


def entries_of(payload: bytes, limit: int) -> list[bytes]:
    """Return the entries of an append; raises :class:`AuditEntryRefusedError`."""
    entries: list[bytes] = []
    position, size = 0, len(payload)
    while position < size:
        if position + LENGTH.size > size:
            raise AuditEntryRefusedError(expected="whole entries", found="a cut length")
        (length,) = LENGTH.unpack_from(payload, position)
        position += LENGTH.size
        if position + length > size:
            raise AuditEntryRefusedError(expected="whole entries", found="a cut entry")
        entries.append(payload[position : position + length])
        position += length
    if not 1 <= len(entries) <= limit:
        raise AuditEntryRefusedError(
            expected=f"1 to {limit} entries in a request", found=f"{len(entries)}"
        )
    return entries
