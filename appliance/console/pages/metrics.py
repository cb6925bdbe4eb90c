"""How old the witnesses' word is, for a Prometheus on this machine."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, generate_latest
from starlette.exceptions import HTTPException

from appliance.audit.officer import WitnessCollector
from appliance.console.context import Console
from appliance.core.settings.console import LOOPBACK

router = APIRouter()


@router.get("/metrics")
def metrics(request: Request) -> Response:
    """Return Prometheus' text to this machine itself; for any other the page is not there.

    It holds numbers and the witnesses' names, nothing of an entry, so it is neither behind the
    login nor in the log: a scrape every few seconds would bury what people read.
    """
    if request.client is None or request.client.host not in LOOPBACK:
        raise HTTPException(404)
    console: Console = request.app.state.console
    registry = CollectorRegistry()
    registry.register(WitnessCollector(console.home, console.settings.audit, console.clock))
    kind = "text/plain; version=0.0.4; charset=utf-8"
    return Response(generate_latest(registry), media_type=kind)
