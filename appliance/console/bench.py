"""How long the console's filters take on a log of any size (`./run bench`)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from appliance.audit.index import Filter
from appliance.console.pages.events import Asked, search
from appliance.console.reading import LogReader, reading
from appliance.core.clock import SystemClock
from appliance.core.home import Home
from appliance.core.settings.console import ConsoleSettings

ROUNDS: Final = 5


def bench_filters(home: Home, settings: ConsoleSettings) -> dict[str, Any]:
    """Time every filter of the events page on the log of ``home``.

    Returns ``{"entries": n, "filters": {name: {"median_ms": x, "max_ms": y}}}``; the values looked
    for are the first and the most frequent of each kind that the log has.
    """
    with reading(home, settings) as log:
        found = {name: _time(work) for name, work in _cases(log, settings).items()}
        return {"entries": log.index.count(Filter()), "filters": found}


def _cases(log: LogReader, settings: ConsoleSettings) -> dict[str, Callable[[], object]]:
    rows = settings.page_rows + 1
    now = SystemClock().now()
    wanted: dict[str, dict[str, Any]] = {
        "none": {},
        "last day": {"since": now - timedelta(days=1)},
        "one month": {"since": now - timedelta(days=60), "until": now - timedelta(days=30)},
        "emergency": {"break_glass": True},
    }
    for name in ("user", "action", "patient", "object_id", "model", "outcome", "component"):
        values = log.index.values(name, limit=1000)
        if values:
            common = max(values, key=lambda pair: pair[1])[0]
            wanted[f"{name}, rare"] = {name: min(values, key=lambda pair: pair[1])[0]}
            wanted[f"{name}, common"] = {name: common}
            wanted[f"{name}, common, last day"] = {name: common, **wanted["last day"]}

    seen = {n: log.index.values(n, limit=1) for n in ("user", "model", "action")}
    for name, values in seen.items():
        if values:
            wanted[f"{name}, refused"] = {name: values[0][0], "outcome": "refused"}

    def page(fields: dict[str, Any]) -> Callable[[], object]:
        asked = Asked(Filter(**fields))
        return lambda: search(log, asked, rows, None, newer=False)

    cases = {name: page(fields) for name, fields in wanted.items()}
    since = now - timedelta(days=settings.queue_days)
    cases["emergency queue"] = lambda: log.emergencies(since, limit=settings.page_rows)
    cases["states of reviews"] = log.states
    return cases


def _time(work: Callable[[], object]) -> dict[str, float]:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1000)
    return {"median_ms": round(statistics.median(taken), 2), "max_ms": round(max(taken), 2)}
