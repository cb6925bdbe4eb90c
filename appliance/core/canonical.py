"""Canonical JSON (RFC 8785) and content hashes: the same value is always the same bytes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import rfc8785

CHUNK_BYTES = 1 << 20


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 bytes of ``value`` (raises ``rfc8785.CanonicalizationError``)."""
    return rfc8785.dumps(value)


def sha256_hex(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def value_hash(value: Any) -> str:
    """Return the content hash of a JSON value: SHA-256 over its canonical bytes."""
    return sha256_hex(canonical_json(value))


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, read in chunks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def tree_hash(folder: Path) -> str:
    """Return one hash for a folder: the value hash of {relative path: file hash}."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return value_hash({p.relative_to(folder).as_posix(): file_hash(p) for p in files})
