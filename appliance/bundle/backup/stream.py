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

from collections.abc import Iterator
from typing import BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.core.errors import BackupDamagedError

ATTEMPT_BYTES = 4
TAG_BYTES = 16
OVERHEAD = ATTEMPT_BYTES + TAG_BYTES


def _nonce(attempt: bytes, number: int, *, last: bool) -> bytes:
    return attempt + number.to_bytes(7, "big") + bytes([last])


class Sealer:
    """Takes plain bytes, gives sealed chunks to ``out`` as they fill."""

    def __init__(
        self, key: bytes, out: BinaryIO, chunk_bytes: int, *, attempt: int = 1, skip: int = 0
    ) -> None:
        """Write chunks from number ``skip`` on; the plain bytes of earlier ones are passed over."""
        self._box = AESGCM(key)
        self._out = out
        self._size = chunk_bytes
        self._attempt = attempt.to_bytes(ATTEMPT_BYTES, "big")
        self._buffer = bytearray(chunk_bytes)
        # One buffer for every sealed chunk: a fresh megabyte each time costs more than AES.
        self._sealed = memoryview(bytearray(chunk_bytes + OVERHEAD))
        self._sealed[:ATTEMPT_BYTES] = self._attempt
        self._filled = 0
        self._skip = skip
        self.number = 0
        self.plain_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take ``data``; a chunk is sealed when more follows, so the last one is known."""
        view = memoryview(data)
        total = len(view)
        self.plain_bytes += total
        while view:
            if self._filled == self._size:
                self._seal(memoryview(self._buffer), last=False)
            if not self._filled and len(view) > self._size:
                self._seal(view[: self._size], last=False)
                view = view[self._size :]
                continue
            count = min(self._size - self._filled, len(view))
            self._buffer[self._filled : self._filled + count] = view[:count]
            self._filled += count
            view = view[count:]
        return total

    def finish(self) -> None:
        """Seal the last chunk, which may be empty only when the stream is."""
        self._seal(memoryview(self._buffer)[: self._filled], last=True)

    def _seal(self, plain: memoryview, *, last: bool) -> None:
        if self.number >= self._skip:
            nonce = _nonce(self._attempt, self.number, last=last)
            end = ATTEMPT_BYTES + len(plain) + TAG_BYTES
            self._box.encrypt_into(nonce, plain, None, self._sealed[ATTEMPT_BYTES:end])
            self._out.write(self._sealed[:end])
        self.number += 1
        self._filled = 0


class Opener:
    """Gives plain bytes, each chunk only after it is authenticated."""

    def __init__(self, key: bytes, source: BinaryIO, chunk_bytes: int) -> None:
        """Read sealed chunks from ``source``, which stands after the header."""
        self._chunks = self._open(AESGCM(key), source, chunk_bytes + OVERHEAD)
        self._rest = memoryview(b"")
        self.ended = False

    def _open(self, box: AESGCM, source: BinaryIO, size: int) -> Iterator[bytes]:
        number, held = 0, source.read(size)
        while True:
            following = source.read(size)
            last = not following
            yield self._one(box, held, number, last=last)
            if last:
                self.ended = True
                return
            number, held = number + 1, following

    @staticmethod
    def _one(box: AESGCM, sealed: bytes, number: int, *, last: bool) -> bytes:
        nonce = _nonce(sealed[:ATTEMPT_BYTES], number, last=last)
        try:
            # Fewer bytes than a tag have no ciphertext: decrypt refuses them like a wrong tag.
            return box.decrypt(nonce, memoryview(sealed)[ATTEMPT_BYTES:], None)
        except InvalidTag as error:
            raise BackupDamagedError(
                expected=f"chunk {number} of this backup, in its place and whole",
                found="damaged, cut off, moved or of another backup",
            ) from error

    def read(self, count: int = -1) -> bytes:
        """Return up to ``count`` plain bytes, less only at the end (what tarfile needs)."""
        parts, wanted = [], count if count >= 0 else 1 << 62
        while wanted:
            if not len(self._rest):
                chunk = next(self._chunks, None)
                if chunk is None:
                    break
                self._rest = memoryview(chunk)
                continue
            part = self._rest[:wanted]
            parts.append(part)
            self._rest = self._rest[len(part) :]
            wanted -= len(part)
        return b"".join(parts)

    def drain(self) -> int:
        """Authenticate what is left and return how many plain bytes that was."""
        left = len(self._rest)
        self._rest = memoryview(b"")
        return left + sum(len(c) for c in self._chunks)
