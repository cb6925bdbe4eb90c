"""Writing a bundle: files cut into chunks named by their hash, then signed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from appliance.bundle.ceremony import require_chain, to_bytes
from appliance.bundle.model import Chunk, Entry, check_entries, custom_of
from appliance.bundle.paths import safe_path
from appliance.bundle.tufapi import (
    Metadata,
    MetaFile,
    Root,
    Signer,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from appliance.core.canonical import sha256_hex
from appliance.core.durable import fsync_dir, os_errors, write_bytes
from appliance.core.errors import BundleFormatError, KeyUnusableError
from appliance.core.settings.bundle import BundleSettings


@dataclass(frozen=True)
class Item:
    """A file to put on the medium: from disk, or bytes made while building."""

    path: str
    source: Path | bytes
    plain: bool = False
    chunk_bytes: int | None = None


@dataclass(frozen=True)
class Signers:
    """The three release keys (one key may serve several roles) and the signed roots."""

    roots: Sequence[bytes]
    targets: Signer
    snapshot: Signer
    timestamp: Signer


@dataclass
class Repository:
    """A bundle being written at ``folder``; chunks that ``known`` lists are left out."""

    folder: Path
    limits: BundleSettings
    known: frozenset[str] = frozenset()
    written: int = 0
    reused: int = 0
    left_out: int = 0
    entries: list[Entry] = field(default_factory=list)

    def add(self, item: Item) -> Entry:
        """Cut one file into chunks, hashing and copying in the same pass."""
        safe_path(item.path)
        whole = hashlib.sha256()
        chunks: list[Chunk] = []
        offset = 0
        for data in _pieces(item.source, item.chunk_bytes or self.limits.chunk_bytes):
            whole.update(data)
            name = sha256_hex(data)
            absent = name in self.known and not item.plain
            chunk = Chunk(name, len(data), offset, absent)
            offset += len(data)
            chunks.append(chunk)
            self._store(item.path if item.plain else chunk.path, data, chunk)
        entry = Entry(item.path, offset, whole.hexdigest(), tuple(chunks), item.plain)
        self.entries.append(entry)
        return entry

    def _store(self, path: str, data: bytes, chunk: Chunk) -> None:
        if chunk.absent:
            self.left_out += chunk.length
            return
        target = self.folder / path
        # An earlier build's chunk is used again only when its bytes still hash to its name.
        if target.is_file() and target.stat().st_size == len(data):
            with os_errors(target), target.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() == chunk.sha256:
                    self.reused += chunk.length
                    return
        write_bytes(target, data, mode=0o644)
        self.written += chunk.length

    def sign(self, version: int, signers: Signers, now: datetime) -> str:
        """Write the metadata and remove what this bundle does not list; return its id."""
        require_chain(signers.roots)
        check_entries(self.entries)
        files = metadata_files(self.entries, version, signers, now, self.limits)
        self._sweep({e.chunk_path(c) for e in self.entries for c in e.chunks} | set(files))
        for path, data in files.items():
            write_bytes(self.folder / path, data, mode=0o644)
        return sha256_hex(files[f"metadata/{version}.targets.json"])

    def _sweep(self, keep: set[str]) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path.relative_to(self.folder).as_posix() not in keep:
                path.unlink()
        fsync_dir(self.folder)


def _pieces(source: Path | bytes, size: int) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, max(len(source), 1), size):
            yield source[start : start + size]
        return
    with os_errors(source), source.open("rb") as stream:
        first = True
        while (data := stream.read(size)) or first:
            yield data
            first = False


def metadata_files(
    entries: Sequence[Entry],
    version: int,
    signers: Signers,
    now: datetime,
    limits: BundleSettings,
) -> dict[str, bytes]:
    """Return the signed metadata: every root, timestamp, snapshot, targets."""
    now = now.replace(microsecond=0)
    until = now + timedelta(days=limits.metadata_days)
    targets = Targets(version=version, expires=until)
    for entry in entries:
        target = TargetFile(entry.length, {"sha256": entry.sha256}, entry.path)
        custom = custom_of(entry)
        if custom:
            target.unrecognized_fields["custom"] = custom
        targets.targets[entry.path] = target
    signed_targets = _signed(Metadata(targets), signers.targets)
    _fits(signed_targets, limits.targets_max_bytes, "targets")
    snapshot = Snapshot(version=version, expires=until)
    snapshot.meta["targets.json"] = _meta(version, signed_targets)
    signed_snapshot = _signed(Metadata(snapshot), signers.snapshot)
    timestamp = Timestamp(version=version, expires=now + timedelta(days=limits.timestamp_days))
    timestamp.snapshot_meta = _meta(version, signed_snapshot)
    files = {
        f"metadata/{Metadata[Root].from_bytes(r).signed.version}.root.json": r
        for r in signers.roots
    }
    files[f"metadata/{version}.targets.json"] = signed_targets
    files[f"metadata/{version}.snapshot.json"] = signed_snapshot
    files["metadata/timestamp.json"] = _signed(Metadata(timestamp), signers.timestamp)
    return files


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile(version, len(data), {"sha256": sha256_hex(data)})


def _signed(metadata: Metadata[Any], signer: Signer) -> bytes:
    try:
        metadata.sign(signer)
    except Exception as error:
        raise KeyUnusableError(
            expected="a key that can sign", found=type(error).__name__
        ) from error
    return to_bytes(metadata)


def _fits(data: bytes, limit: int, what: str) -> None:
    if len(data) > limit:
        raise BundleFormatError(
            expected=f"{what} metadata of at most {limit} bytes",
            found=f"{len(data)} bytes",
            remedy="Use larger chunks or fewer files in the recipe.",
        )
