"""A witness request as a QR code: a picture for paper and screen, blocks for a terminal."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from appliance.audit.witness import MAX_QR_BYTES
from appliance.core.durable import write_bytes
from appliance.core.errors.audit import AuditWitnessRefusedError


def make_qr(body: bytes) -> Any:
    """Return the QR code of ``body``; raises when it does not fit one code."""
    import segno

    if len(body) > MAX_QR_BYTES:
        raise AuditWitnessRefusedError(
            expected=f"a request of at most {MAX_QR_BYTES} bytes for one QR code",
            found=f"{len(body)} bytes",
            remedy="Carry the request to the officer's device as a file.",
        )
    return segno.make(body, mode="byte", error="l", micro=False, boost_error=False)


def save_qr(body: bytes, path: Path) -> None:
    """Write the code as PNG or SVG, by the ending of ``path``."""
    stream = io.BytesIO()
    kind = "svg" if path.suffix.lower() == ".svg" else "png"
    make_qr(body).save(stream, kind=kind, scale=6)
    write_bytes(path, stream.getvalue())


def terminal_qr(body: bytes) -> str:
    """Return the code in half blocks, two rows of modules a line."""
    stream = io.StringIO()
    make_qr(body).terminal(stream, compact=True)
    return stream.getvalue()
