"""The queues of emergency accesses and of flags; determinations and sign-offs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from appliance.audit.indexstore import key_of, place_of
from appliance.audit.officer import let_sign
from appliance.console.context import Visit, allowed, check_csrf
from appliance.console.flags import Flag
from appliance.console.pages.entry import acts_of
from appliance.console.pages.events import parse_day
from appliance.console.reading import LogReader, item_of, place_of_item, reading
from appliance.console.reviews import (
    DECISIONS,
    DETERMINATIONS,
    REVIEW,
    SIGN_OFF,
    ItemState,
    check_comment,
    check_review,
    check_sign_off,
    may_review,
    may_sign_off,
)
from appliance.core.errors import ConsoleInputError, InputMissingError, ReviewRefusedError

router = APIRouter()
Reader = Annotated[Visit, Depends(allowed("read"))]
Text = Annotated[str, Form(max_length=1024)]


@router.get("/emergency")
def emergency(visit: Reader, day: str = "", show: str = "open") -> Response:
    """Show emergency accesses: those that wait, or all, of a day or of the last months."""
    console, own = visit.console, visit.console.settings.console
    start = parse_day(day, console.zone)
    show = show if show in {"open", "all"} else "open"
    visit.scribe.event("console.view_emergency", detail={"day": day[:10], "show": show})
    since = start or console.clock.now() - timedelta(days=own.queue_days)
    until = start + timedelta(days=1) if start else None
    with reading(console.home, own) as log:
        states = log.states()
        found = log.emergencies(since, until, limit=own.queue_rows)
        lines = [(row, states.get(item_of(row.log, row.n), ItemState())) for row in found]
        if show == "open":
            lines = [(row, state) for row, state in lines if state.waits]
        shown = [
            (row, state, log.index.entry(row.log, row.n).get("justification"))
            for row, state in lines[: own.page_rows]
        ]
    return visit.page(
        "emergency.html",
        lines=shown,
        total=len(lines),
        all_count=len(found),
        day=start.date().isoformat() if start else "",
        show=show,
    )


@router.get("/decisions")
def decisions(visit: Reader, state: str = "reviewed") -> Response:
    """Show what was determined: to be signed off, being followed up, closed."""
    console, own = visit.console, visit.console.settings.console
    state = state if state in {"reviewed", "follow_up", "closed"} else "reviewed"
    visit.scribe.event("console.view_decisions", detail={"state": state})
    with reading(console.home, own) as log:
        found = [(i, s) for i, s in log.states().items() if s.state == state]
        found.sort(key=lambda pair: -pair[1].review_key)
        lines = [
            (item, now, log.index.entry(*place_of(now.review_key)))
            for item, now in found[: own.page_rows]
        ]
    shown = [(_back(i, e.get("detail", {}).get("day", "")), s, e) for i, s, e in lines]
    return visit.page("decisions.html", lines=shown, total=len(found), state=state)


@router.get("/flags")
def flags(visit: Reader, show: str = "open") -> Response:
    """Show the flags of the last days."""
    console, own = visit.console, visit.console.settings.console
    show = show if show in {"open", "all"} else "open"
    visit.scribe.event("console.view_flags", detail={"show": show})
    with reading(console.home, own) as log:
        states = log.states()
        found = console.board.recent(log, console.clock.now())
    lines = [(flag, states.get(flag.id, ItemState())) for flag in found.flags]
    if show == "open":
        lines = [(flag, state) for flag, state in lines if state.waits]
    return visit.page("flags.html", lines=lines, cut=found.cut, show=show, own=own)


@router.get("/flags/{day}/{ident}")
def flag(visit: Reader, day: str, ident: str) -> Response:
    """Show one flag and the entries that raised it."""
    console, own = visit.console, visit.console.settings.console
    visit.scribe.event("console.view_flag", object_id=ident[:40])
    with reading(console.home, own) as log:
        found = _find_flag(visit, log, day, ident)
        state = log.state(found.id)
        rows = log.rows_at([key_of(number, n) for number, n in found.entries[: own.page_rows]])
        acts = acts_of(log, found.id)
    assert visit.user is not None
    reviewer = console.store.get(state.reviewer) if state.reviewer else None
    return visit.page(
        "flag.html",
        flag=found,
        rows=rows,
        acts=acts,
        state=state,
        item=found.id,
        can_review=may_review(visit.user, state, found.users),
        can_sign=may_sign_off(visit.user, state, found.users, reviewer),
        is_subject=bool(visit.user.names() & {u.casefold() for u in found.users}),
    )


def _find_flag(visit: Visit, log: LogReader, day: str, ident: str) -> Flag:
    try:
        local = date.fromisoformat(day)
    except ValueError:
        raise ConsoleInputError(expected="a date", found="other text") from None
    for found in visit.console.board.of_day(log, local, visit.console.clock.now()).flags:
        if found.id == ident:
            return found
    raise InputMissingError(expected="a flag of that day", found="none")


def _subject_of(
    visit: Visit, log: LogReader, item: str, day: str
) -> tuple[Sequence[str], dict[str, Any], str | None]:
    """Return whom an item concerns, what its review says about it, and the patient."""
    if item.startswith("f"):
        found = _find_flag(visit, log, day, item)
        patient = found.subject if found.rule == "shared_patient" else None
        detail = {"rule": found.rule, "day": found.day, "count": found.count}
        return found.users, detail, patient
    value = log.index.entry(*place_of_item(item))
    if value["phase"] == "intent":
        raise ReviewRefusedError(
            expected="an event or an outcome", found="an intent", remedy="Review its outcome."
        )
    detail = {"log": value["written"]["log"], "n": value["written"]["n"], "event": value["id"]}
    return [value["user"]] if value.get("user") else [], detail, value.get("patient")


def _back(item: str, day: str) -> str:
    if item.startswith("f"):
        return f"/flags/{datetime.fromisoformat(day).date().isoformat()}/{item}"
    log, n = place_of_item(item)
    return f"/events/{log}/{n}"


@router.post("/review/{item}")
def review(  # noqa: PLR0913, PLR0917 - one parameter a field of the form
    visit: Annotated[Visit, Depends(allowed("review"))],
    item: str,
    determination: Text,
    csrf: Text,
    comment: Text = "",
    day: Text = "",
) -> Response:
    """Write a determination into the log; that entry is the review."""
    check_csrf(visit, csrf)
    words = check_comment(comment)
    if determination not in DETERMINATIONS or (determination != "appropriate" and not words):
        raise ConsoleInputError(expected="a justification or comment", found="none")
    console = visit.console
    assert visit.user is not None
    with console.deciding:
        let_sign(console.home)
        with reading(console.home, console.settings.console) as log:
            subjects, detail, patient = _subject_of(visit, log, item, day)
            state = log.state(item)
        try:
            check_review(visit.user, state, subjects)
        except ReviewRefusedError as error:
            _log_refusal(visit, REVIEW, item, error)
            raise
        detail = {**detail, "comment": words}
        visit.scribe.event(
            REVIEW, object_id=item, reason=determination, patient=patient, detail=detail
        )
        let_sign(console.home)
    visit.notice(visit.words("The determination is in the log. A second person signs it off."))
    return visit.go(_back(item, day))


@router.post("/sign-off/{item}")
def sign_off(  # noqa: PLR0913, PLR0917 - one parameter a field of the form
    visit: Annotated[Visit, Depends(allowed("sign_off"))],
    item: str,
    decision: Text,
    review_key: Annotated[int, Form()],
    csrf: Text,
    comment: Text = "",
    day: Text = "",
) -> Response:
    """Write the second person's agreement, or send the determination back."""
    check_csrf(visit, csrf)
    words = check_comment(comment)
    if decision not in DECISIONS or (decision == "return" and not words):
        raise ConsoleInputError(expected="a justification or comment", found="none")
    console = visit.console
    assert visit.user is not None
    with console.deciding:
        let_sign(console.home)
        with reading(console.home, console.settings.console) as log:
            subjects, detail, patient = _subject_of(visit, log, item, day)
            state = log.state(item)
        reviewer = console.store.get(state.reviewer) if state.reviewer else None
        try:
            check_sign_off(visit.user, state, subjects, review_key, reviewer)
        except ReviewRefusedError as error:
            _log_refusal(visit, SIGN_OFF, item, error)
            raise
        detail = {
            **detail,
            "comment": words,
            "determination": state.determination,
            "reviewer": state.reviewer,
            "review": item_of(*place_of(state.review_key)),
        }
        visit.scribe.event(
            SIGN_OFF, object_id=item, reason=decision, patient=patient, detail=detail
        )
        let_sign(console.home)
    visit.notice(visit.words("Your sign-off is in the log."))
    return visit.go(_back(item, day))


def _log_refusal(visit: Visit, action: str, item: str, error: ReviewRefusedError) -> None:
    visit.scribe.event(action, outcome="refused", object_id=item, reason=f"found {error.found}")
