"""The events: filters, pages, and a patient looked up without her number being kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from appliance.audit.index import Filter, Row
from appliance.audit.pseudonym import Pseudonyms
from appliance.console.context import Visit, allowed, check_csrf
from appliance.console.reading import LogReader, reading
from appliance.core.errors import ConsoleInputError

router = APIRouter()
Reader = Annotated[Visit, Depends(allowed("read"))]
TEXTS: Final = ("user", "action", "patient", "object_id", "model", "outcome", "component")
MAX_FILTER: Final = 256


def parse_day(text: str, zone: Any) -> datetime | None:
    """Return the beginning of a local day; nothing for nothing."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text[:10]).replace(tzinfo=zone)
    except ValueError:
        raise ConsoleInputError(expected="a date", found="other text") from None


@dataclass(frozen=True)
class Asked:
    """What a page of events shows.

    Without ``intents`` only what came of them; with ``quiet`` nothing that the console wrote.
    """

    filter: Filter
    intents: bool = False
    quiet: bool = False

    def shows(self, row: Row) -> bool:
        """Say whether a matching row stands on the page."""
        return (self.intents or row.phase != "intent") and not (
            self.quiet and row.component == "console"
        )


def read_filter(query: dict[str, str], zone: Any) -> Asked:
    """Return the filter that a form's fields ask for; the end day belongs to the period."""
    texts = {n: query[n].strip()[:MAX_FILTER] for n in TEXTS if query.get(n, "").strip()}
    until = parse_day(query.get("to", ""), zone)
    found = Filter(
        since=parse_day(query.get("from", ""), zone),
        until=until + timedelta(days=1) if until else None,
        break_glass=True if query.get("emergency") else None,
        **texts,
    )
    return Asked(found, bool(query.get("intents")), bool(query.get("quiet")))


def search(log: LogReader, asked: Asked, limit: int, key: int | None, *, newer: bool) -> list[Row]:
    """Return matching rows: older than ``key``, newest first, or newer than it, oldest first.

    Intents are left out here rather than by the index: nearly every filter has an index of its
    own that gives rows in order, and "not an intent" would make it read all of them.
    """
    rows: list[Row] = []
    while True:
        side = {"after": key} if newer else {"before": key}
        found = log.index.search(asked.filter, limit=2 * limit, **side)
        rows += [row for row in found if asked.shows(row)]
        if len(rows) >= limit or len(found) < 2 * limit:
            return rows[:limit]
        key = found[-1].key


def _key(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 19 else None  # noqa: PLR2004 - digits of 2^62


@router.get("/events")
def events(visit: Reader) -> Response:
    """Show a page of events."""
    console, own = visit.console, visit.console.settings.console
    query = {k: v for k, v in visit.request.query_params.items() if v}
    asked = read_filter(query, console.zone)
    wanted = asked.filter
    before, after = _key(query.get("before")), _key(query.get("after"))
    given = [n for n in (*TEXTS, "from", "to", "emergency") if query.get(n)]
    detail: dict[str, Any] = {"filters": ",".join(given)}
    detail |= {f"by_{n}": getattr(wanted, n) for n in TEXTS if n != "patient" and n in given}
    detail |= {f"by_{n}": query[n][:10] for n in ("from", "to") if n in given}
    visit.scribe.event("console.view_events", patient=wanted.patient, detail=detail)
    with reading(console.home, own) as log:
        key, newer_side = (before, False) if after is None else (after, True)
        rows = search(log, asked, own.page_rows + 1, key, newer=newer_side)
        choices = {
            "action": log.index.values("action", limit=300),
            "user": log.index.values("user", limit=300),
            "model": log.index.values("model", limit=100),
        }
    more = len(rows) > own.page_rows
    rows = rows[: own.page_rows]
    if after is not None:
        rows.reverse()
    newer = rows[0].key if rows and (before is not None or (after is not None and more)) else None
    older = rows[-1].key if rows and (more or after is not None) else None
    plain = {k: v for k, v in query.items() if k not in {"before", "after"}}
    return visit.page(
        "events.html", rows=rows, query=plain, choices=choices, newer=newer, older=older
    )


@router.post("/events/patient")
def find_patient(
    visit: Reader, record: Annotated[str, Form(max_length=128)], csrf: Annotated[str, Form()]
) -> Response:
    """Turn a record number into its pseudonym; the number goes no further than this function."""
    check_csrf(visit, csrf)
    try:
        candidates = Pseudonyms(visit.console.home).candidates(record)
    except ValueError:
        raise ConsoleInputError(expected="a record number", found="none") from None
    if not candidates:
        candidates = [Pseudonyms(visit.console.home).pseudonym(record)]
    with reading(visit.console.home, visit.console.settings.console) as log:
        counted = [(log.index.count(Filter(patient=c)), c) for c in candidates]
    best = max(counted)[1]
    visit.scribe.event("console.find_patient", patient=best)
    others = [c for n, c in counted if n and c != best]
    if others:
        visit.notice(visit.words("Older pseudonyms of this patient: ") + ", ".join(others), "note")
    return visit.go("/events", patient=best)
