"""OCSF 1.8.0: an entry as an API Activity event, with the ``ai_operation`` profile where AI ran.

OCSF 1.8.0 has no profile for the integrity of records; the leaf hash and the index stand in the
base fields ``raw_data_hash`` and ``metadata.sequence`` instead, so a receiver can prove the event.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from appliance.audit.export.common import Record, Source

VERSION: Final = "1.8.0"
CLASS_UID: Final = 6003
CATEGORY_UID: Final = 6
SHA256: Final = 3
_ACTIVITY: Final = {"C": (1, "Create"), "R": (2, "Read"), "U": (3, "Update"), "D": (4, "Delete")}
_OTHER: Final = (99, "Other")
_STATUS: Final = {
    None: (0, "Unknown"),
    "success": (1, "Success"),
    "failure": (2, "Failure"),
    "refused": (2, "Failure"),
    "unknown": (0, "Unknown"),
}
INFORMATIONAL, LOW, MEDIUM, HIGH = 1, 2, 3, 4


def severity(record: Record) -> int:
    """Return how much attention an event asks for (OCSF severity_id)."""
    if record.value.get("break_glass"):
        return HIGH
    if record.value.get("type") == "110113" or record.value.get("outcome") == "failure":
        return MEDIUM
    return LOW if record.value.get("outcome") in {"refused", "unknown"} else INFORMATIONAL


def to_ocsf(record: Record, source: Source) -> dict[str, Any]:
    """Return the event."""
    activity, name = _ACTIVITY.get(record.get("crude"), _OTHER)
    status, status_name = _STATUS[record.value.get("outcome")]
    event: dict[str, Any] = {
        "activity_id": activity,
        "activity_name": name,
        "category_uid": CATEGORY_UID,
        "class_uid": CLASS_UID,
        "type_uid": CLASS_UID * 100 + activity,
        "severity_id": severity(record),
        "status_id": status,
        "status": status_name,
        "time": int(datetime.fromisoformat(record.at).timestamp() * 1000),
        "message": record.get("action"),
        "actor": _actor(record),
        "api": _api(record),
        "src_endpoint": {"ip": record.get("ip") or source.address},
        "metadata": _metadata(record, source),
        "raw_data_hash": {"algorithm_id": SHA256, "algorithm": "SHA-256", "value": record.leaf},
        "raw_data_size": len(record.data),
        "unmapped": _unmapped(record),
    }
    if record.get("reason"):
        event["status_detail"] = record.get("reason")
    resources = [("patient", record.get("patient")), ("object", record.get("object_id"))]
    if any(uid for _, uid in resources):
        event["resources"] = [{"type": kind, "uid": uid} for kind, uid in resources if uid]
    if record.get("model"):
        event["ai_model"] = {
            "ai_provider": source.name,
            "name": record.get("model"),
            "version": record.get("adapter") or "base",
        }
        event["metadata"]["profiles"] = ["ai_operation"]
    return event


def _actor(record: Record) -> dict[str, Any]:
    actor: dict[str, Any] = {"app_name": record.get("component"), "user": {"name": record.user}}
    if record.get("role"):
        actor["user"]["groups"] = [{"name": record.get("role")}]
    if record.get("session"):
        actor["session"] = {"uid": record.get("session")}
    return actor


def _api(record: Record) -> dict[str, Any]:
    api: dict[str, Any] = {
        "operation": record.get("action"),
        "service": {"name": record.get("component")},
    }
    if record.get("request_id"):
        api["request"] = {"uid": record.get("request_id")}
    return api


def _metadata(record: Record, source: Source) -> dict[str, Any]:
    return {
        "version": VERSION,
        "uid": record.get("id"),
        "sequence": record.index,
        "log_name": f"log-{record.value['written'].get('log', 1):04d}",
        "event_code": record.get("type"),
        "correlation_uid": record.get("intent") or record.get("id"),
        "product": {"name": source.name, "vendor_name": source.name, "version": source.version},
    }


def _unmapped(record: Record) -> dict[str, Any]:
    names = ("phase", "purpose", "break_glass", "justification", "policy", "dataset")
    kept = {n: record.value[n] for n in names if record.value.get(n) is not None}
    return {**kept, **(record.value.get("detail") or {})}
