"""The appliance's own record form, one JSON object a record."""

from __future__ import annotations

from typing import Any

from appliance.datasets.record import KINDS, Record, content_id


def matches(value: dict[str, Any]) -> bool:
    """Tell whether an object says which kind of record it is."""
    kind = value.get("kind")
    return isinstance(kind, str) and kind in KINDS


def parse(value: dict[str, Any]) -> Record:
    """Return the record; one without an id is named by its content."""
    if "id" not in value:
        parts = (str(value.get(name, "")) for name in ("kind", "question", "context", "answer"))
        value = {**value, "id": content_id("record", *parts)}
    return Record.from_dict(value)
