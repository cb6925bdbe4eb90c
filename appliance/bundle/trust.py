"""From a root someone compared with paper to the list of files: the TUF client workflow.

The rules are python-tuf's ``TrustedMetadataSet`` (bytes in, one reference time); this module
feeds it from the medium and gives its refusals the appliance's words. The floors against
rollback are the timestamp and snapshot this machine accepted last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.bundle.medium import Medium, read_small
from appliance.bundle.model import Entry, check_entries, entry_of
from appliance.bundle.tufapi import (
    DeserializationError,
    EnvelopeType,
    Metadata,
    Root,
    TrustedMetadataSet,
    tuf_errors,
)
from appliance.core.canonical import sha256_hex
from appliance.core.errors import (
    ApplianceError,
    BundleDamagedError,
    BundleExpiredError,
    BundleFormatError,
    BundleRollbackError,
    BundleUntrustedError,
    MediumUnreadableError,
)
from appliance.core.settings.bundle import BundleSettings

TIMESTAMP = "metadata/timestamp.json"


@dataclass(frozen=True)
class Anchor:
    """Where trust begins: a root, and what this machine accepted last (floors)."""

    root: bytes
    timestamp: bytes | None = None
    snapshot: bytes | None = None


@dataclass(frozen=True)
class Trusted:
    """A bundle whose metadata is proven; its files are not yet."""

    id: str
    version: int
    anchor_fingerprint: str
    root_fingerprint: str
    root_version: int
    expires: datetime
    at: datetime
    root: bytes
    timestamp: bytes
    snapshot: bytes
    targets: bytes
    files: dict[str, bytes]
    entries: tuple[Entry, ...]

    def entry(self, path: str) -> Entry:
        """Return the signed file at ``path``; raise :class:`BundleFormatError`."""
        for entry in self.entries:
            if entry.path == path:
                return entry
        raise BundleFormatError(expected=f"{path} in the bundle", found="it is not listed")


def fingerprint(root: bytes) -> str:
    """Return the root's fingerprint: SHA-256 of the file, as ``sha256sum`` prints it."""
    return sha256_hex(root)


def grouped(value: str) -> str:
    """Write a fingerprint in groups of four, as it stands on paper."""
    return " ".join(value[i : i + 4] for i in range(0, len(value), 4))


def translate(error: Exception, what: str) -> ApplianceError:
    """Return the appliance's error for python-tuf's ``error`` about ``what``."""
    if isinstance(error, tuf_errors.ExpiredMetadataError):
        return BundleExpiredError(expected=f"{what} still valid", found=str(error))
    if isinstance(error, tuf_errors.BadVersionNumberError):
        return BundleRollbackError(expected=f"{what} not older than accepted", found=str(error))
    if isinstance(error, tuf_errors.LengthOrHashMismatchError):
        return BundleDamagedError(
            expected=f"{what} as the file above it names it",
            found="other bytes: damaged, or parts of two releases mixed",
        )
    if isinstance(error, DeserializationError):
        return BundleDamagedError(expected=f"readable {what}", found="not TUF metadata")
    return BundleUntrustedError(
        expected=f"{what} signed by enough trusted keys", found=str(error) or type(error).__name__
    )


class _Reader:
    """Reads metadata from the medium once and keeps the bytes."""

    def __init__(self, medium: Medium) -> None:
        self.medium = medium
        self.files: dict[str, bytes] = {}

    def get(self, path: str, limit: int) -> bytes:
        try:
            data = read_small(self.medium, path, limit)
        except FileNotFoundError as error:
            raise BundleDamagedError(expected=path, found="it is missing") from error
        except OSError as error:
            raise MediumUnreadableError(
                expected=f"{path} readable", found=error.strerror or "read error"
            ) from error
        self.files[path] = data
        return data

    def has(self, path: str) -> bool:
        try:
            self.medium.open(path).close()
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True


def _feed(what: str, call: Callable[[bytes], Any], data: bytes) -> None:
    try:
        call(data)
    except (tuf_errors.RepositoryError, DeserializationError, ValueError, KeyError) as error:
        raise translate(error, what) from error


def load_trusted(medium: Medium, anchor: Anchor, at: datetime, limits: BundleSettings) -> Trusted:
    """Walk root, timestamp, snapshot, targets (TUF 5.3 to 5.6) as of the date ``at``."""
    reader = _Reader(medium)
    try:
        trusted = TrustedMetadataSet(anchor.root, EnvelopeType.METADATA)
    except (tuf_errors.RepositoryError, DeserializationError) as error:
        raise translate(error, "the trusted root") from error
    trusted.reference_time = at
    root = _walk_roots(reader, trusted, anchor.root, limits)
    timestamp = _timestamp(reader, trusted, anchor, limits)
    snapshot = _snapshot(reader, trusted, anchor, limits)
    meta = trusted.snapshot.meta["targets.json"]
    path = f"metadata/{meta.version}.targets.json"
    targets = reader.get(path, min(limits.targets_max_bytes, meta.length or 1 << 62))
    _feed("the targets file", trusted.update_targets, targets)
    signed = (trusted.root, trusted.timestamp, trusted.snapshot, trusted.targets)
    return Trusted(
        id=sha256_hex(targets),
        version=trusted.targets.version,
        anchor_fingerprint=fingerprint(anchor.root),
        root_fingerprint=fingerprint(root),
        root_version=trusted.root.version,
        expires=min(s.expires for s in signed),
        at=at,
        root=root,
        timestamp=timestamp,
        snapshot=snapshot,
        targets=targets,
        files=reader.files,
        entries=_entries(trusted),
    )


def _walk_roots(
    reader: _Reader, trusted: TrustedMetadataSet, anchor: bytes, limits: BundleSettings
) -> bytes:
    newest = anchor
    for _ in range(limits.max_root_rotations):
        path = f"metadata/{trusted.root.version + 1}.root.json"
        if not reader.has(path):
            break
        newest = reader.get(path, limits.root_max_bytes)
        _feed(f"root version {trusted.root.version + 1}", trusted.update_root, newest)
    own = f"metadata/{trusted.root.version}.root.json"
    if own not in reader.files and reader.has(own):
        held = reader.get(own, limits.root_max_bytes)
        if held != newest:
            raise BundleUntrustedError(
                expected=f"root version {trusted.root.version} as this machine holds it",
                found="another file of the same version",
            )
    return newest


def _timestamp(
    reader: _Reader, trusted: TrustedMetadataSet, anchor: Anchor, limits: BundleSettings
) -> bytes:
    if anchor.timestamp is not None:
        _floor(trusted.update_timestamp, anchor.timestamp)
    held = reader.get(TIMESTAMP, limits.timestamp_max_bytes)
    try:
        _feed("the timestamp", trusted.update_timestamp, held)
    except BundleRollbackError as error:
        same = isinstance(error.__cause__, tuf_errors.EqualVersionNumberError)
        if not (same and held == anchor.timestamp):
            raise
        if trusted.timestamp.is_expired(trusted.reference_time):
            raise BundleExpiredError(
                expected="a timestamp still valid", found="timestamp.json is expired"
            ) from error
    return held


def _snapshot(
    reader: _Reader, trusted: TrustedMetadataSet, anchor: Anchor, limits: BundleSettings
) -> bytes:
    if anchor.snapshot is not None:
        _floor(lambda d: trusted.update_snapshot(d, trusted=True), anchor.snapshot)
    meta = trusted.timestamp.snapshot_meta
    path = f"metadata/{meta.version}.snapshot.json"
    held = reader.get(path, min(limits.snapshot_max_bytes, meta.length or 1 << 62))
    _feed("the snapshot", trusted.update_snapshot, held)
    return held


def _floor(call: Callable[[bytes], Any], data: bytes) -> None:
    """Load what was accepted before: expired or of another root it is still a floor or nothing."""
    try:
        call(data)
    except (tuf_errors.RepositoryError, DeserializationError):
        return


def _entries(trusted: TrustedMetadataSet) -> tuple[Entry, ...]:
    if trusted.targets.delegations is not None:
        raise BundleFormatError(expected="no delegated targets", found="a delegation")
    entries = [
        entry_of(path, target.length, target.hashes.get("sha256", ""), dict(target.custom or {}))
        for path, target in sorted(trusted.targets.targets.items())
    ]
    check_entries(entries)
    return tuple(entries)


def roots_on(medium: Medium) -> list[int]:
    """Return the versions of the root files that lie on the medium, in order."""
    versions = []
    for found in medium.walk():
        head, _, tail = found.path.removeprefix("metadata/").partition(".")
        if found.path.startswith("metadata/") and tail == "root.json" and head.isdecimal():
            versions.append(int(head))
    return sorted(versions)


def older_roots(medium: Medium, anchor: bytes, limits: BundleSettings) -> dict[str, bytes]:
    """Return the roots before the anchor that lead to it; one that does not is refused."""
    reader = _Reader(medium)
    newer = Metadata[Root].from_bytes(anchor)
    versions = [v for v in roots_on(medium) if v < newer.signed.version]
    for version in reversed(versions[-limits.max_root_rotations :]):
        path = f"metadata/{version}.root.json"
        data = reader.get(path, limits.root_max_bytes)
        try:
            older = Metadata[Root].from_bytes(data)
            older.signed.verify_delegate(Root.type, newer.signed_bytes, newer.signatures)
            older.signed.verify_delegate(Root.type, older.signed_bytes, older.signatures)
        except (tuf_errors.RepositoryError, DeserializationError) as error:
            raise translate(error, f"root version {version}") from error
        if older.signed.version != version or version != newer.signed.version - 1:
            raise BundleUntrustedError(
                expected=f"root version {newer.signed.version - 1}", found=f"{path}"
            )
        newer = older
    return reader.files


def anchor_by_fingerprint(medium: Medium, wanted: str, limits: BundleSettings) -> bytes:
    """Return the root on the medium whose fingerprint a person read from paper."""
    plain = "".join(wanted.split()).lower().replace(":", "").replace("-", "")
    reader = _Reader(medium)
    for version in roots_on(medium)[: limits.max_root_rotations]:
        data = reader.get(f"metadata/{version}.root.json", limits.root_max_bytes)
        if fingerprint(data) == plain:
            return data
    raise BundleUntrustedError(
        expected=f"a root with the fingerprint {grouped(plain[:64])}",
        found="no such root on the medium",
    )


def first_root(medium: Medium, limits: BundleSettings) -> bytes:
    """Return the oldest root on the medium: believed by nobody until compared with paper."""
    versions = roots_on(medium)
    if not versions:
        raise BundleDamagedError(expected="metadata/1.root.json", found="no root on the medium")
    reader = _Reader(medium)
    return reader.get(f"metadata/{versions[0]}.root.json", limits.root_max_bytes)
