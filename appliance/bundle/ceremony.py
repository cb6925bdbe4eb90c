"""Root metadata: first version, rotation, revocation; signatures added one person at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from appliance.bundle.tufapi import (
    JSONSerializer,
    Metadata,
    Root,
    Signer,
    Snapshot,
    SSlibKey,
    Targets,
    Timestamp,
    tuf_errors,
)
from appliance.core.errors import BundleUntrustedError, KeyUnusableError

ROLES = (Root.type, Targets.type, Snapshot.type, Timestamp.type)
ROOT_THRESHOLD = 2
ROOT_KEYS_LEAST = 3


@dataclass(frozen=True)
class RoleKeys:
    """The keys of each role; root wants two signatures of at least three keys."""

    root: Sequence[SSlibKey]
    targets: Sequence[SSlibKey]
    snapshot: Sequence[SSlibKey]
    timestamp: Sequence[SSlibKey]
    root_threshold: int = ROOT_THRESHOLD

    def of(self, role: str) -> Sequence[SSlibKey]:
        """Return the keys of ``role``."""
        keys: Sequence[SSlibKey] = getattr(self, role)
        return keys


def to_bytes(metadata: Metadata[Any]) -> bytes:
    """Return the file's bytes (compact JSON, the same on every machine)."""
    data: bytes = metadata.to_bytes(JSONSerializer(compact=True))
    return data


def new_root(keys: RoleKeys, now: datetime, days: int, previous: bytes | None = None) -> bytes:
    """Return an unsigned root: version 1, or the one after ``previous``.

    Rotation and revocation are the same act: the next root simply does not list a key any more.
    """
    if len({k.keyid for k in keys.root}) < ROOT_KEYS_LEAST:
        raise KeyUnusableError(
            expected="three root keys held by three people", found=f"{len(keys.root)} root keys"
        )
    if not ROOT_THRESHOLD <= keys.root_threshold <= len(keys.root):
        raise KeyUnusableError(
            expected=f"a root threshold of {ROOT_THRESHOLD} to {len(keys.root)}",
            found=str(keys.root_threshold),
        )
    version = 1
    if previous is not None:
        version = Metadata[Root].from_bytes(previous).signed.version + 1
    expires = (now + timedelta(days=days)).replace(microsecond=0)
    root = Root(version=version, expires=expires, consistent_snapshot=True)
    for role in ROLES:
        for key in keys.of(role):
            root.add_key(key, role)
        threshold = keys.root_threshold if role == Root.type else 1
        root.roles[role].threshold = threshold
    return to_bytes(Metadata(root))


def sign(data: bytes, signer: Signer) -> bytes:
    """Add the signature of ``signer`` to a metadata file and return its new bytes."""
    metadata = Metadata.from_bytes(data)
    try:
        metadata.sign(signer, append=True)
    except Exception as error:
        raise KeyUnusableError(
            expected="a key that can sign", found=type(error).__name__
        ) from error
    return to_bytes(metadata)


def complete(data: bytes, previous: bytes | None = None) -> tuple[bool, int, int]:
    """Return whether a root has its signatures, how many it has, and how many it wants.

    A rotation needs the threshold of the previous root *and* of its own (TUF 5.3.4, 5.3.5).
    """
    metadata = Metadata[Root].from_bytes(data)
    older = Metadata[Root].from_bytes(previous).signed if previous is not None else None
    result = metadata.signed.get_root_verification_result(
        older, metadata.signed_bytes, metadata.signatures
    )
    return bool(result), len(result.signed), metadata.signed.roles[Root.type].threshold


def require_chain(roots: Sequence[bytes]) -> None:
    """Raise unless every root is complete and follows from the one before it."""
    previous: bytes | None = None
    for data in roots:
        ok, got, wanted = complete(data, previous)
        if not ok:
            raise BundleUntrustedError(
                expected=f"a root with {wanted} signatures that follows from the one before",
                found=f"{got} good signatures",
                remedy="Let another holder run `appliance bundle keys sign`.",
            )
        previous = data


def threshold_signed(root: bytes, payload: bytes, signatures: dict[str, Any]) -> bool:
    """Return whether ``payload`` carries the root threshold's signatures."""
    try:
        Metadata[Root].from_bytes(root).signed.verify_delegate(Root.type, payload, signatures)
    except tuf_errors.RepositoryError:
        return False
    return True
