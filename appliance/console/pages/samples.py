"""Random samples: drawn from a seed that is in the log, drawn again whenever they are shown."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from appliance.audit.index import Filter
from appliance.audit.officer import let_sign
from appliance.console.context import Visit, allowed, check_csrf
from appliance.console.pages.entry import Log, Place
from appliance.console.pages.events import parse_day
from appliance.console.reading import item_of, reading
from appliance.console.reviews import ItemState
from appliance.console.sampling import Draw, digest, draw, new_seed
from appliance.core.errors import ConsoleInputError, InputMissingError

router = APIRouter()
Reader = Annotated[Visit, Depends(allowed("read"))]
Text = Annotated[str, Form(max_length=64)]
ACTION = "console.sample"


@router.get("/samples")
def samples(visit: Reader) -> Response:
    """Show the samples that were drawn."""
    console, own = visit.console, visit.console.settings.console
    visit.scribe.event("console.view_samples")
    with reading(console.home, own) as log:
        found = log.index.search(
            Filter(action=ACTION, component="console", phase="outcome"), limit=own.page_rows
        )
        lines = [(row, log.index.entry(row.log, row.n).get("detail", {})) for row in found]
    today = console.clock.now().astimezone(console.zone).date()
    return visit.page(
        "samples.html",
        lines=[(row, detail) for row, detail in lines if row.outcome == "success"],
        size=own.sample_size,
        first=(today - timedelta(days=6)).isoformat(),
        last=today.isoformat(),
    )


@router.post("/samples")
def new_sample(
    visit: Annotated[Visit, Depends(allowed("sample"))],
    first: Text,
    last: Text,
    size: Annotated[int, Form(ge=1, le=200)],
    csrf: Text,
) -> Response:
    """Draw a sample; its seed stands in the intent, before anybody knows what it will choose."""
    check_csrf(visit, csrf)
    console = visit.console
    since, end = parse_day(first, console.zone), parse_day(last, console.zone)
    if since is None or end is None or end < since:
        raise ConsoleInputError(expected="a date", found="none, or an end before the beginning")
    until = min(end + timedelta(days=1), console.clock.now())
    seed = new_seed()
    detail: dict[str, Any] = {
        "seed": seed,
        "size": size,
        "since": since.isoformat(),
        "until": until.isoformat(),
    }
    with visit.scribe.action(ACTION, detail=detail) as act:
        let_sign(console.home)
        with reading(console.home, console.settings.console) as log:
            keys = log.access_keys(since, until)
        chosen = draw(keys, seed, size)
        act.detail.update(population=len(keys), digest=digest(chosen))
    let_sign(console.home)
    with reading(console.home, console.settings.console) as log:
        outcomes = log.index.outcomes_of(act.id)
    return visit.go(f"/samples/{outcomes[0].log}/{outcomes[0].n}")


@router.get("/samples/{log}/{n}")
def sample(visit: Reader, log: Log, n: Place) -> Response:
    """Draw the sample again from what the log says and show it."""
    console = visit.console
    visit.scribe.event("console.view_sample", object_id=item_of(log, n))
    with reading(console.home, console.settings.console) as reader:
        value = reader.index.entry(log, n)
        if value["action"] != ACTION or value.get("outcome") != "success":
            raise InputMissingError(expected="a sample", found="another entry")
        made = Draw.from_detail(value["detail"])
        rows, same = reader.redraw(made)
        states = reader.states()
    lines = [(row, states.get(item_of(row.log, row.n), ItemState())) for row in rows]
    return visit.page("sample.html", value=value, made=made, lines=lines, same=same, log=log, n=n)
