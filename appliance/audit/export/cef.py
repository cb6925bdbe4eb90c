"""Common Event Format (ArcSight): one line an event."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from appliance.audit.export.common import Record, Source
from appliance.audit.export.ocsf import severity

_SEVERITY: Final = {1: 2, 2: 4, 3: 6, 4: 9}  # OCSF severity_id to CEF 0-10


def _header(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ").replace("\r", " ")


def _value(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("=", "\\=")
    return escaped.replace("\r", "\\r").replace("\n", "\\n")


def to_cef(record: Record, source: Source) -> str:
    """Return the line, without its newline."""
    head = [
        "CEF:0",
        _header(source.name),
        _header(source.name),
        _header(source.version),
        _header(record.get("type")),
        _header(record.get("action")),
        str(_SEVERITY[severity(record)]),
    ]
    fields = {
        "rt": str(int(datetime.fromisoformat(record.at).timestamp() * 1000)),
        "externalId": record.get("id"),
        "suser": record.user,
        "spriv": record.get("role"),
        "src": record.get("ip"),
        "sproc": record.get("component"),
        "act": record.get("crude"),
        "outcome": record.get("outcome"),
        "reason": record.get("reason"),
        "requestContext": record.get("request_id"),
        "fname": record.get("object_id"),
        "fileHash": record.leaf,
        "cn1": str(record.index),
        "cn1Label": "logIndex",
        "cs1": record.get("patient"),
        "cs1Label": "patientPseudonym",
        "cs2": record.get("model"),
        "cs2Label": "model",
        "cs3": record.get("purpose"),
        "cs3Label": "purposeOfUse",
        "cs4": record.get("justification"),
        "cs4Label": "justification",
    }
    kept = {k: v for k, v in fields.items() if v and fields.get(k.removesuffix("Label"))}
    return "|".join(head) + "|" + " ".join(f"{k}={_value(v)}" for k, v in kept.items())
