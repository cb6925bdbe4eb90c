"""Elastic Common Schema: NDJSON ready for a ``_bulk`` request.

Every event is preceded by its action line; the id is the entry's own, so that a repeated export
does not make doubles.
"""

from __future__ import annotations

import json
from typing import Any, Final

from appliance.audit.export.common import Record, Source

ECS_VERSION: Final = "8.17"
_OUTCOME: Final = {"success": "success", "refused": "failure", "failure": "failure"}
_CATEGORY: Final = {
    "110101": "configuration",
    "110110": "database",
    "110112": "database",
    "110113": "intrusion_detection",
    "110114": "authentication",
}
_TYPE: Final = {"C": "creation", "R": "access", "U": "change", "D": "deletion", "E": "info"}


def to_ecs(record: Record, source: Source) -> dict[str, Any]:
    """Return the document."""
    document: dict[str, Any] = {
        "@timestamp": record.at,
        "ecs": {"version": ECS_VERSION},
        "message": record.get("action"),
        "event": {
            "id": record.get("id"),
            "kind": "event",
            "category": [_CATEGORY.get(record.get("type"), "process")],
            "type": [_TYPE[record.get("crude")]],
            "action": record.get("action"),
            "outcome": _OUTCOME.get(record.get("outcome"), "unknown"),
            "created": record.get("time"),
            "sequence": record.index,
            "hash": record.leaf,
            "provider": record.get("component"),
            "module": source.name,
        },
        "user": {"name": record.user},
        "observer": {"product": source.name, "version": source.version},
        "service": {"name": record.get("component")},
        "labels": _labels(record),
    }
    if record.get("reason"):
        document["event"]["reason"] = record.get("reason")
    if record.get("role"):
        document["user"]["roles"] = [record.get("role")]
    if record.get("ip"):
        document["source"] = {"ip": record.get("ip")}
    if record.get("request_id"):
        document["trace"] = {"id": record.get("request_id")}
    return document


def _labels(record: Record) -> dict[str, str]:
    """Return what ECS has no field for (it has none for patients): flat keywords."""
    names = ("patient", "object_id", "purpose", "session", "phase", "intent", "justification")
    labels = {name: record.get(name) for name in names if record.get(name)}
    labels |= {f"ai_{name}": value for name, value in record.ai.items()}
    if record.value.get("break_glass"):
        labels["break_glass"] = "true"
    return labels


def to_bulk(record: Record, source: Source, index: str) -> str:
    """Return the two lines of a bulk request."""
    action = {"create": {"_index": index, "_id": record.get("id")}}
    lines = (json.dumps(line, ensure_ascii=False) for line in (action, to_ecs(record, source)))
    return "\n".join(lines) + "\n"
