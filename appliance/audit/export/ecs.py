"""Elastic Common Schema: NDJSON ready for a ``_bulk`` request.

Every event is preceded by its action line; the id is the entry's own, so that a repeated export
does not make doubles.
"""

from __future__ import annotations

import json
from typing import Any, Final

from appliance.audit import codes
from appliance.audit.export.common import Record, Source

ECS_VERSION: Final = "9.4.0"
_OUTCOME: Final = {"success": "success", "refused": "failure", "failure": "failure"}
_CATEGORY: Final = {
    codes.AUDIT_LOG_USED: "configuration",
    codes.EXPORT: "file",
    codes.IMPORT: "file",
    codes.PATIENT_RECORD: "database",
    codes.QUERY: "database",
    codes.SECURITY_ALERT: "intrusion_detection",
    codes.USER_AUTHENTICATION: "authentication",
}
_CATEGORY_OF_SUBTYPE: Final = {
    codes.NETWORK_CONFIGURATION: "configuration",
    codes.SECURITY_CONFIGURATION: "configuration",
    codes.HARDWARE_CONFIGURATION: "configuration",
    codes.SOFTWARE_CONFIGURATION: "configuration",
    codes.ROLES_CHANGED: "iam",
    codes.USERS_CHANGED: "iam",
}
_MOMENT: Final = {
    codes.START: "start",
    codes.LOGIN: "start",
    codes.STOP: "end",
    codes.LOGOUT: "end",
}
_TYPE: Final = {"C": "creation", "R": "access", "U": "change", "D": "deletion", "E": "info"}
# ECS says which types belong to a category; where one is missing, the nearest stands for it.
_NARROW: Final = {
    "database": {"creation": "change", "deletion": "change"},
    "process": {"creation": "change", "deletion": "change"},
    "iam": {"access": "info"},
    "intrusion_detection": dict.fromkeys(("creation", "access", "change", "deletion"), "info"),
    "authentication": dict.fromkeys(("creation", "access", "change", "deletion"), "info"),
}


def _kind(record: Record) -> tuple[str, str]:
    """Return ``event.category`` and an ``event.type`` which ECS expects in it."""
    subtypes = [str(s) for s in record.value.get("subtype", [])]
    category = _CATEGORY.get(record.get("type"), "process")
    for subtype in subtypes:
        category = _CATEGORY_OF_SUBTYPE.get(subtype, category)
    for subtype in subtypes:
        if subtype in _MOMENT:
            return category, _MOMENT[subtype]
    wanted = _TYPE[record.get("crude")]
    return category, _NARROW.get(category, {}).get(wanted, wanted)


def to_ecs(record: Record, source: Source) -> dict[str, Any]:
    """Return the document."""
    category, kind = _kind(record)
    document: dict[str, Any] = {
        "@timestamp": record.at,
        "ecs": {"version": ECS_VERSION},
        "message": record.get("action"),
        "event": {
            "id": record.get("id"),
            "kind": "event",
            "category": [category],
            "type": [kind],
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
    if record.get("model"):
        document["gen_ai"] = {"request": {"model": record.get("model")}}
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
