"""What the operator asks for, and what the receipt says was checked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from appliance.bundle.model import Manifest
from appliance.bundle.trust import Trusted


@dataclass(frozen=True)
class Request:
    """What the operator asks for: the paper's fingerprint, today's date, an exception."""

    fingerprint: str | None = None
    date: date | None = None
    exception: bytes | None = None


def receipt(trusted: Trusted, manifest: Manifest, request: Request) -> dict[str, Any]:
    """Return what the receipt says was checked and against what."""
    return {
        "version": manifest.version,
        "sequence": manifest.sequence,
        "root_fingerprint": trusted.root_fingerprint,
        "root_version": trusted.root_version,
        "metadata_version": trusted.version,
        "expires": trusted.expires.isoformat(),
        "judged_at": trusted.at.isoformat(),
        "date_source": "operator" if request.date else "clock",
        "exception": request.exception is not None,
    }
