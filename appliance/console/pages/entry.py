"""One entry with everything it says, its proof, and what was decided about it."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, Path
from fastapi.responses import Response

from appliance.audit.officer import let_sign
from appliance.console.context import Visit, allowed, check_csrf
from appliance.console.reading import LogReader, Proven, item_of, reading
from appliance.console.reviews import may_review, may_sign_off

router = APIRouter()
Reader = Annotated[Visit, Depends(allowed("read"))]
Log = Annotated[int, Path(ge=1, le=999_999)]
Place = Annotated[int, Path(ge=0, le=10**12)]


@router.get("/events/{log}/{n}")
def event(visit: Reader, log: Log, n: Place) -> Response:
    """Show an entry; it is read from the log itself, not from the index."""
    return _show(visit, log, n, proven=None)


@router.post("/events/{log}/{n}/check")
def check(visit: Reader, log: Log, n: Place, csrf: Annotated[str, Form()]) -> Response:
    """Check the entry's proof and the signature of the checkpoint now."""
    check_csrf(visit, csrf)
    proven = _prove(visit, log, n, "console.check_proof")
    if visit.request.headers.get("hx-request"):
        return visit.page("_proof.html", proven=proven, log=log, n=n)
    return _show(visit, log, n, proven=proven)


@router.get("/events/{log}/{n}/proof")
def proof(visit: Reader, log: Log, n: Place) -> Response:
    """Hand the C2SP tlog-proof file over."""
    proven = _prove(visit, log, n, "console.download")
    return _file(proven.proof.encode(), f"entry-{log}-{n}.tlog-proof", "text/plain; charset=utf-8")


@router.get("/events/{log}/{n}/entry")
def entry(visit: Reader, log: Log, n: Place) -> Response:
    """Hand the entry's bytes over, as the proof speaks of them."""
    proven = _prove(visit, log, n, "console.download")
    return _file(proven.entry, f"entry-{log}-{n}.json", "application/json")


def _file(data: bytes, name: str, kind: str) -> Response:
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=kind, headers=headers)


def _prove(visit: Visit, log: int, n: int, action: str) -> Proven:
    with visit.scribe.action(action, object_id=item_of(log, n)) as act:
        let_sign(visit.console.home)
        with reading(visit.console.home, visit.console.settings.console) as reader:
            proven = reader.prove(log, n)
        act.detail["included"] = proven.verdict.ok
        if not proven.verdict.ok:
            act.fail("the proof does not hold")
    return proven


def _show(visit: Visit, log: int, n: int, proven: Proven | None) -> Response:
    console = visit.console
    item = item_of(log, n)
    visit.scribe.event("console.view_event", object_id=item)
    with reading(console.home, console.settings.console) as reader:
        value = reader.index.entry(log, n)
        state = reader.state(item)
        acts = acts_of(reader, item)
        if value.get("intent"):
            linked = [r for r in [reader.index.by_id(value["intent"])] if r]
        else:
            linked = reader.index.outcomes_of(value["id"]) if value["phase"] == "intent" else []
    subjects = [value["user"]] if value.get("user") else []
    reviewer = console.store.get(state.reviewer) if state.reviewer else None
    assert visit.user is not None
    return visit.page(
        "event.html",
        log=log,
        n=n,
        item=item,
        value=value,
        raw=json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True),
        linked=linked,
        acts=acts,
        state=state,
        proven=proven,
        can_review=value["phase"] != "intent" and may_review(visit.user, state, subjects),
        can_sign=may_sign_off(visit.user, state, subjects, reviewer),
        is_subject=bool(visit.user.names() & {s.casefold() for s in subjects}),
    )


def acts_of(reader: LogReader, item: str) -> list[dict[str, Any]]:
    """Return the reviews and sign-offs of an item, each as its entry says it."""
    return [
        {"row": row, "comment": reader.index.entry(row.log, row.n).get("detail", {}).get("comment")}
        for row in reader.acts(item)
    ]
