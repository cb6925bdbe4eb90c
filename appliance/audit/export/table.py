"""CSV for a spreadsheet, safe to open: a cell that starts like a formula is made text."""

from __future__ import annotations

import csv
import io
from typing import Final

from appliance.audit.export.common import Record

COLUMNS: Final = (
    "index",
    "at",
    "action",
    "phase",
    "outcome",
    "reason",
    "user",
    "role",
    "component",
    "ip",
    "patient",
    "object_id",
    "purpose",
    "break_glass",
    "justification",
    "model",
    "adapter",
    "dataset",
    "request_id",
    "id",
    "leaf_sha256",
)
# OWASP "CSV Injection": these first characters make a spreadsheet compute (CWE-1236).
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


def safe_cell(text: str) -> str:
    """Return ``text`` as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: list[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\r\n").writerow(cells)
    return stream.getvalue()


def header() -> str:
    """Return the first line (RFC 4180 line ends)."""
    return _line(list(COLUMNS))


def to_row(record: Record) -> str:
    """Return an event's line."""
    own = {"index": str(record.index), "at": record.at, "leaf_sha256": record.leaf}
    return _line([safe_cell(own.get(name) or record.get(name)) for name in COLUMNS])
