"""The one loop that turns bytes into proven bytes: read once, hashed, and copied on the way."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from appliance.bundle.medium import Medium, Source
from appliance.bundle.model import MANIFEST, Manifest, parse_manifest
from appliance.bundle.trust import Trusted
from appliance.core.errors import (
    ApplianceError,
    BundleDamagedError,
    BundleForeignFileError,
    BundleFormatError,
    MediumUnreadableError,
)
from appliance.core.settings.bundle import BundleSettings

Sink = Callable[[memoryview, int], None]
"""Takes bytes and their offset in the chunk. They are NOT proven until prove() returns."""

# What a stick gives when it is pulled out or its flash is worn.
_GONE = {errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.ESTALE, errno.ENOMEDIUM}


@dataclass(frozen=True)
class Wanted:
    """A file of the medium and what was signed about it."""

    path: str
    length: int
    sha256: str
    what: str


def prove(medium: Medium, wanted: Wanted, buffer: memoryview, sink: Sink | None = None) -> None:
    """Read ``wanted`` once; return only when length and SHA-256 are those that were signed.

    Raises :class:`BundleDamagedError` (missing, truncated, longer, other bytes),
    :class:`MediumUnreadableError` (read errors, medium gone) or
    :class:`BundleForeignFileError` (a link or special file). Reading stops one byte after
    the signed length, so an endless file costs nothing.
    """
    try:
        source = medium.open(wanted.path)
    except OSError as error:
        raise _os(error, wanted, 0) from error
    try:
        _prove(source, wanted, buffer, sink)
    finally:
        source.close()


def _prove(source: Source, wanted: Wanted, buffer: memoryview, sink: Sink | None) -> None:
    digest = hashlib.sha256()
    done = 0
    while done < wanted.length:
        view = buffer[: min(len(buffer), wanted.length - done)]
        count = _read(source, view, wanted, done)
        if not count:
            raise _damaged(wanted, f"it ends after {done} of {wanted.length} bytes")
        digest.update(view[:count])
        if sink is not None:
            sink(view[:count], done)
        done += count
    if _read(source, buffer[:1], wanted, done):
        raise _damaged(wanted, f"it goes on after {wanted.length} bytes")
    if digest.hexdigest() != wanted.sha256:
        raise _damaged(wanted, "its SHA-256 differs")


def _read(source: Source, view: memoryview, wanted: Wanted, at: int) -> int:
    try:
        return source.readinto(view) or 0
    except OSError as error:
        raise _os(error, wanted, at) from error


def _damaged(wanted: Wanted, found: str) -> BundleDamagedError:
    return BundleDamagedError(
        expected=f"{wanted.what} as signed", found=f"block {wanted.path}: {found}"
    )


def _os(error: OSError, wanted: Wanted, at: int) -> ApplianceError:
    name = errno.errorcode.get(error.errno or 0, "unknown")
    if error.errno in {errno.ENOENT, errno.ENOTDIR}:
        return _damaged(wanted, "it is missing")
    if error.errno == errno.ELOOP:
        return BundleForeignFileError(expected=f"a regular file at {wanted.path}", found="a link")
    gone = "the medium is gone" if error.errno in _GONE else "read error"
    return MediumUnreadableError(
        expected=f"{wanted.what} readable",
        found=f"{gone} ({name}) at byte {at} of block {wanted.path}",
    )


def read_manifest(medium: Medium, trusted: Trusted, limits: BundleSettings) -> Manifest:
    """Prove and read ``bundle.json``; it is small, so it is read whole into memory."""
    entry = trusted.entry(MANIFEST)
    if entry.length > limits.manifest_max_bytes or len(entry.chunks) != 1:
        raise BundleFormatError(
            expected=f"bundle.json of at most {limits.manifest_max_bytes} bytes in one block",
            found=f"{entry.length} bytes",
        )
    chunk = entry.chunks[0]
    wanted = Wanted(entry.chunk_path(chunk), chunk.length, chunk.sha256, MANIFEST)
    data = bytearray()
    prove(medium, wanted, memoryview(bytearray(65_536)), lambda part, _: data.extend(part))
    return parse_manifest(bytes(data))
