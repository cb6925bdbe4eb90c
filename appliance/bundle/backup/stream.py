"""The sealed stream: AES-256-GCM chunks that cannot be cut, moved, swapped or replaced.

STREAM (Hoang, Reyhanitabar, Rogaway, Vizar 2015) as age uses it, with one addition for resuming:

    chunk on disk   attempt (4 bytes) || ciphertext || tag (16 bytes)
    nonce           attempt (4) || number of the chunk (7) || 1 for the last chunk, else 0

The attempt is counted durably *before* a run writes, so a chunk that is written again after an
interruption never repeats a nonce, whatever its content is by then. The number and the last mark
are implied by the position: a chunk at another place, of another backup (another key), or a
stream that ends early does not authenticate.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.bundle.backup.behind import Ahead
from appliance.core.errors import BackupDamagedError

ATTEMPT_BYTES = 4
TAG_BYTES = 16
OVERHEAD = ATTEMPT_BYTES + TAG_BYTES
CHUNKS_AHEAD = 3  # opened before they are asked for: enough to hide a slow read


class SupportsWrite(Protocol):
    """Where sealed chunks go, one write each."""

    def write(self, data: memoryview, /) -> object:
        """Take a chunk."""
        ...


def _nonce(attempt: bytes, number: int, *, last: bool) -> bytes:
    return attempt + number.to_bytes(7, "big") + bytes([last])


class Sealer:
    """Takes plain bytes, gives sealed chunks to ``out`` as they fill.

    The bytes are best read into :meth:`space`, which spares a copy. A chunk is sealed when more
    follows, so the last one is known. ``out`` may use what it is given until ``behind`` more
    chunks have come; who reads the plain bytes elsewhere says so with :meth:`filled`.
    """

    def __init__(  # noqa: PLR0913 - the nonce's parts, each named
        self,
        key: bytes,
        out: SupportsWrite,
        chunk_bytes: int,
        *,
        attempt: int = 1,
        skip: int = 0,
        behind: int = 0,
    ) -> None:
        """Write chunks from number ``skip`` on; the plain bytes of earlier ones are passed over."""
        self._box = AESGCM(key)
        self._out = out
        self._size = chunk_bytes
        self._attempt = attempt.to_bytes(ATTEMPT_BYTES, "big")
        # Few buffers, used in turn: a fresh megabyte each time costs more than AES.
        self._plain = [memoryview(bytearray(chunk_bytes)) for _ in range(behind + 1)]
        self._users: list[list[Future[Any]]] = [[] for _ in self._plain]
        self._sealed = [memoryview(bytearray(chunk_bytes + OVERHEAD)) for _ in range(behind + 1)]
        for sealed in self._sealed:
            sealed[:ATTEMPT_BYTES] = self._attempt
        self._filled = 0
        self._skip = skip
        self.number = 0
        self.plain_bytes = 0

    def space(self) -> memoryview:
        """Return where the next plain bytes go; at least one byte."""
        if self._filled == self._size:
            self._seal(last=False)
        return self._plain[self.number % len(self._plain)][self._filled :]

    def filled(self, count: int, reader: Future[Any] | None = None) -> None:
        """Say that ``count`` bytes are in the space; ``reader`` still reads them."""
        self._filled += count
        self.plain_bytes += count
        if reader is not None:
            self._users[self.number % len(self._plain)].append(reader)

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take a copy of ``data``."""
        view = memoryview(data)
        while view:
            space = self.space()
            count = min(len(space), len(view))
            space[:count] = view[:count]
            self.filled(count)
            view = view[count:]
        return len(data)

    def tell(self) -> int:
        """Return how many plain bytes were taken (what tarfile asks)."""
        return self.plain_bytes

    def finish(self) -> None:
        """Seal the last chunk, which may be empty only when the stream is."""
        self._seal(last=True)

    def _seal(self, *, last: bool) -> None:
        turn = self.number % len(self._plain)
        if self.number >= self._skip:
            nonce = _nonce(self._attempt, self.number, last=last)
            sealed = self._sealed[turn][: self._filled + OVERHEAD]
            plain = self._plain[turn][: self._filled]
            self._box.encrypt_into(nonce, plain, None, sealed[ATTEMPT_BYTES:])
            self._out.write(sealed)
        self.number += 1
        self._filled = 0
        users = self._users[self.number % len(self._plain)]
        while users:  # the buffer that comes next is free when who reads it has ended
            users.pop().result()


class Opener:
    """Gives plain bytes, each chunk only after it is authenticated, some chunks ahead."""

    def __init__(self, key: bytes, source: io.BufferedIOBase, chunk_bytes: int) -> None:
        """Read sealed chunks from ``source``, which stands after the header."""
        self._chunks = Ahead(_open(AESGCM(key), source, chunk_bytes), "open", CHUNKS_AHEAD)
        self._rest = memoryview(b"")

    def close(self) -> None:
        """Open no more chunks."""
        self._chunks.close()

    def _more(self) -> bool:
        """Open the next chunk when nothing is left of this one; say whether there is more."""
        while not len(self._rest):
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._rest = chunk
        return True

    def read(self, count: int) -> bytes | bytearray:
        """Return up to ``count`` plain bytes, less only at the end (what tarfile needs)."""
        if not self._more():
            return b""
        # Copied: the chunk's buffer is used again.
        found, at = bytearray(count), 0
        while at < count and self._more():
            part = self._rest[: count - at]
            found[at : at + len(part)] = part
            at += len(part)
            self._rest = self._rest[len(part) :]
        del found[at:]
        return found

    def drain(self) -> int:
        """Authenticate what is left and return how many plain bytes that was."""
        left = 0
        while self._more():
            left += len(self._rest)
            self._rest = memoryview(b"")
        return left


def _open(box: AESGCM, source: io.BufferedIOBase, chunk_bytes: int) -> Iterator[memoryview]:
    """Yield the plain chunks; one stays as it is while ``CHUNKS_AHEAD`` more are made."""
    size = chunk_bytes + OVERHEAD
    sealed = [memoryview(bytearray(size)) for _ in range(2)]  # one is held until another follows
    plain = [memoryview(bytearray(chunk_bytes)) for _ in range(CHUNKS_AHEAD + 1)]
    number, held = 0, _fill(source, sealed[0])
    while True:
        following = _fill(source, sealed[(number + 1) % 2])
        last = not following
        yield _one(box, held, number, plain[number % len(plain)], last=last)
        if last:
            return
        number, held = number + 1, following


def _fill(source: io.BufferedIOBase, space: memoryview) -> memoryview:
    """Return as much of ``space`` as there were bytes for."""
    at = 0
    while at < len(space) and (count := source.readinto(space[at:])):
        at += count
    return space[:at]


def _one(
    box: AESGCM, sealed: memoryview, number: int, space: memoryview, *, last: bool
) -> memoryview:
    nonce = _nonce(bytes(sealed[:ATTEMPT_BYTES]), number, last=last)
    plain = space[: max(0, len(sealed) - OVERHEAD)]
    try:
        # Fewer bytes than a tag are refused like a wrong tag.
        box.decrypt_into(nonce, sealed[ATTEMPT_BYTES:], None, plain)
    except InvalidTag as error:
        raise BackupDamagedError(
            expected=f"chunk {number} of this backup, in its place and whole",
            found="damaged, cut off, moved or of another backup",
        ) from error
    return plain
