"""The first page: is the log intact, who saw it last, what waits, how busy it was."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from appliance.audit.index import Filter
from appliance.audit.officer import let_sign, witness_status
from appliance.console.charts import Bar, bar_chart
from appliance.console.context import Visit, allowed, check_csrf
from appliance.console.reading import LogReader, item_of, reading
from appliance.console.verification import Verification

router = APIRouter()
Reader = Annotated[Visit, Depends(allowed("read"))]
HOURS = 24


@router.get("/")
def overview(visit: Reader, chart: str = "day") -> Response:
    """Show the state of the log and of the work."""
    console = visit.console
    by_hour = chart == "hour"
    visit.scribe.event("console.view_overview", detail={"chart": "hour" if by_hour else "day"})
    now = console.clock.now()
    let_sign(console.home)
    with reading(console.home, console.settings.console) as log:
        total = log.index.count(Filter())
        waiting = _waiting(visit, log, now)
        bars = _hours(visit, log, now) if by_hour else _days(visit, log, now)
    title = (
        visit.words("Entries an hour, today")
        if by_hour
        else visit.words("Entries a day, last two weeks")
    )
    return visit.page(
        "overview.html",
        total=total,
        waiting=waiting,
        by_hour=by_hour,
        bars=bars,
        chart_title=title,
        chart=bar_chart(bars, title=title, every=3 if by_hour else 1),
        witnesses=witness_status(console.home, console.settings.audit, console.clock),
        **_verification(visit),
    )


@router.post("/verify")
def verify(
    visit: Annotated[Visit, Depends(allowed("verify"))], csrf: Annotated[str, Form()]
) -> Any:
    """Start a verification of the whole log in the background."""
    check_csrf(visit, csrf)
    scribe = visit.scribe
    intent = scribe.recorder.intent("console.verify", user=scribe.user, role=scribe.role)

    def done(made: Verification | None) -> None:
        if made is None:
            scribe.recorder.outcome(intent, "failure", reason="verification broke off")
            return
        detail = {"intact": made.ok, "size": made.size, "problems": len(made.problems)}
        scribe.recorder.outcome(intent, "success", detail=detail)

    if not visit.console.verifier.start(done):
        scribe.recorder.outcome(intent, "refused", reason="another one runs")
    if visit.request.headers.get("hx-request"):
        return visit.page("_verification.html", **_verification(visit))
    return visit.go("/")


@router.get("/verify/status")
def verify_status(visit: Annotated[Visit, Depends(allowed("verify"))]) -> Response:
    """Return the part of the page that says how the verification stands."""
    return visit.page("_verification.html", **_verification(visit))


def _verification(visit: Visit) -> dict[str, Any]:
    verifier = visit.console.verifier
    last = verifier.last()
    limit = visit.console.settings.console.verify_stale_hours
    return {
        "last": last,
        "stale": last is not None and last.age_hours(visit.console.clock.now()) > limit,
        "running": verifier.running,
        "broke_off": verifier.failure,
    }


def _waiting(visit: Visit, log: LogReader, now: datetime) -> dict[str, int]:
    own = visit.console.settings.console
    since = now - timedelta(days=own.queue_days)
    states = log.states()
    found = {"emergency": 0, "sign_off": 0, "flags": 0, "follow_up": 0}
    for row in log.emergencies(since, limit=own.queue_rows):
        state = states.get(item_of(row.log, row.n))
        found["emergency"] += state is None or state.state == "open"
    flags = visit.console.board.recent(log, now).flags
    found["flags"] = sum(f.id not in states or states[f.id].state == "open" for f in flags)
    found["sign_off"] = sum(s.state == "reviewed" for s in states.values())
    found["follow_up"] = sum(s.state == "follow_up" for s in states.values())
    return found


def _days(visit: Visit, log: LogReader, now: datetime) -> list[Bar]:
    today = now.astimezone(visit.console.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    number = visit.console.settings.console.chart_days
    starts = [today - timedelta(days=back) for back in range(number - 1, -1, -1)]
    return [_bar(visit, log, s, timedelta(days=1), "%d/%m") for s in starts]


def _hours(visit: Visit, log: LogReader, now: datetime) -> list[Bar]:
    today = now.astimezone(visit.console.zone).replace(hour=0, minute=0, second=0, microsecond=0)
    starts = [today + timedelta(hours=h) for h in range(HOURS)]
    return [_bar(visit, log, s, timedelta(hours=1), "%H") for s in starts]


def _bar(visit: Visit, log: LogReader, start: datetime, width: timedelta, form: str) -> Bar:
    until = start + width
    count = log.index.count(Filter(since=start, until=until))
    urgent = sum(
        log.index.count(Filter(since=start, until=until, break_glass=True, phase=phase))
        for phase in ("outcome", "event")
    )
    label = start.strftime(form if visit.language == "pt-BR" or "%H" in form else "%m/%d")
    words = visit.words("%(label)s: %(count)d entries, %(urgent)d emergency accesses")
    return Bar(label, words % {"label": label, "count": count, "urgent": urgent}, count, urgent)
