"""The one way to an older bundle: an exception signed by the root threshold, for one bundle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from appliance.bundle.ceremony import threshold_signed
from appliance.bundle.tufapi import Signature, Signer
from appliance.core.canonical import canonical_json
from appliance.core.errors import BundleRollbackError, KeyUnusableError

TYPE = "appliance-downgrade-exception"


@dataclass(frozen=True)
class DowngradeException:
    """Which bundle may be installed although it is older, why, until when, as of which date."""

    bundle: str
    reason: str
    judged_at: datetime
    until: datetime

    def payload(self) -> bytes:
        """Return the bytes that are signed; the type keeps them apart from TUF metadata."""
        return canonical_json(self._fields())

    def _fields(self) -> dict[str, Any]:
        return {
            "_type": TYPE,
            "bundle": self.bundle,
            "reason": self.reason,
            "judged_at": self.judged_at.isoformat(),
            "until": self.until.isoformat(),
        }

    def to_file(self, signatures: dict[str, str] | None = None) -> bytes:
        """Return the exception's file."""
        return canonical_json({"signed": self._fields(), "signatures": signatures or {}}) + b"\n"


def read(data: bytes) -> tuple[DowngradeException, dict[str, str]]:
    """Read an exception file; nothing in it is believed yet."""
    try:
        value = json.loads(data)
        signed = value["signed"]
        _ = {TYPE: None}[signed["_type"]]
        found = DowngradeException(
            str(signed["bundle"]),
            str(signed["reason"]),
            datetime.fromisoformat(signed["judged_at"]),
            datetime.fromisoformat(signed["until"]),
        )
        signatures = {str(k): str(v) for k, v in value["signatures"].items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleRollbackError(
            expected="a downgrade exception file", found=type(error).__name__
        ) from error
    return found, signatures


def sign(data: bytes, signer: Signer) -> bytes:
    """Add one signature."""
    found, signatures = read(data)
    try:
        made = signer.sign(found.payload())
    except Exception as error:
        raise KeyUnusableError(
            expected="a key that can sign", found=type(error).__name__
        ) from error
    return found.to_file(signatures | {made.keyid: made.signature})


def require(data: bytes, root: bytes, now: datetime) -> DowngradeException:
    """Return the exception when the root threshold signed it and it is still valid."""
    found, raw = read(data)
    signatures = {k: Signature(k, v) for k, v in raw.items()}
    if not threshold_signed(root, found.payload(), signatures):
        raise BundleRollbackError(
            expected="a downgrade exception signed by the root threshold",
            found=f"{len(raw)} signatures, not enough of them good",
        )
    if now >= found.until:
        raise BundleRollbackError(
            expected="a downgrade exception still valid", found=f"it ended {found.until.date()}"
        )
    return found
