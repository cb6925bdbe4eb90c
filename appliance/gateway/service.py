"""What the command line and the demo call: serve, or run a gateway beside other work."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import httpx

from appliance.audit.recorder import Recorder, operating_user
from appliance.core.durable import exclusive, read_json, write_json
from appliance.core.errors import ApplianceError, GatewayUnreachableError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.gateway.keys import PRINCIPAL
from appliance.gateway.server import (
    GatewayServer,
    Parts,
    Sources,
    assemble,
    base_url,
    listening_socket,
)

ANNOUNCEMENT = "gateway.json"
START_MARGIN_S = 30.0  # on top of the engine's own time to load
PROBE_S = 2.0


@dataclass(frozen=True)
class Running:
    """A gateway that answers: where, and a key for this machine's own use."""

    base_url: str
    api_key: str = field(repr=False)
    model: str | None = None
    server: GatewayServer | None = field(default=None, repr=False)


def local_principal() -> str:
    """Return the login name as a principal, or ``local`` when it has another form."""
    user = operating_user()
    return user if re.fullmatch(PRINCIPAL, user) else "local"


@contextlib.contextmanager
def running_gateway(
    home: Home, settings: Settings, recorder: Recorder, sources: Sources | None = None
) -> Iterator[Running]:
    """Serve from a thread of this process on a free loopback port while the block runs.

    The key lives in this process only. Raises what keeps the gateway from being ready
    (``ModelNotPromotedError`` when nothing is promoted).
    """
    own = settings.model_copy(
        update={
            "gateway": settings.gateway.model_copy(
                update={
                    "host": "127.0.0.1",
                    "port": 0,
                    "tls_certificate": None,
                    "tls_key": None,
                }
            )
        }
    )
    parts = assemble(home, own, recorder, sources)
    server = GatewayServer(parts)
    sock = listening_socket(own)
    url = base_url(own, sock)
    key = parts.keys.session(local_principal(), "operator")
    listening = threading.Event()
    server.on_listening = listening.set
    thread = threading.Thread(
        target=server.run, kwargs={"sockets": [sock]}, name="gateway", daemon=True
    )
    thread.start()
    try:
        _wait(listening, thread, own)
        parts.answering.keeper.check()
        detail = {"base_url": url, "engine": own.inference.engine}
        recorder.event("gateway.started", detail=detail)
        yield Running(url, key, parts.answering.keeper.serving, server)
    finally:
        server.drain()
        thread.join()
        sock.close()
        _shut(parts)
    recorder.event("gateway.stopped", detail={"base_url": url})


def _wait(listening: threading.Event, thread: threading.Thread, settings: Settings) -> None:
    limit = settings.inference.start_timeout_s + START_MARGIN_S
    step = 0.05
    for _ in range(int(limit / step)):
        if listening.wait(step):
            return
        if not thread.is_alive():
            break
    raise GatewayUnreachableError(expected="the gateway to start", found="it did not")


def serve(
    home: Home, settings: Settings, recorder: Recorder, announce: Callable[[str], None]
) -> None:
    """Serve until SIGTERM or SIGINT, then let running answers end. Runs in the main thread."""
    with exclusive(home.run / "gateway.lock", what="gateway"):
        parts = assemble(home, settings, recorder)
        server = GatewayServer(parts)
        sock = listening_socket(settings)
        url = base_url(settings, sock)
        file = home.run / ANNOUNCEMENT
        server.on_listening = lambda: announce(url)
        try:
            recorder.event(
                "gateway.started",
                detail={"base_url": url, "engine": settings.inference.engine},
            )
            if settings.gateway.local_key and settings.gateway.tls_certificate is None:
                key = parts.keys.session(local_principal(), "operator")
                write_json(file, {"base_url": url, "key": key, "pid": os.getpid()}, mode=0o600)
            server.run(sockets=[sock])
        finally:
            file.unlink(missing_ok=True)
            sock.close()
            _shut(parts)
        recorder.event("gateway.stopped", detail={"base_url": url})


def _shut(parts: Parts) -> None:
    parts.answering.executor.shutdown()
    parts.answering.log_executor.shutdown()


def find_running(home: Home) -> Running | None:
    """Return the gateway that serves this home now, when there is one that answers."""
    try:
        value = read_json(home.run / ANNOUNCEMENT)
        found = Running(str(value["base_url"]), str(value["key"]))
        url = found.base_url.removesuffix("/v1") + "/health"
        with httpx.Client(trust_env=False, timeout=PROBE_S) as client:
            return found if client.get(url).status_code == httpx.codes.OK else None
    except (ApplianceError, KeyError, TypeError, httpx.HTTPError):
        return None


@contextlib.contextmanager
def reach_gateway(
    home: Home, settings: Settings, open_recorder: Callable[[], Recorder]
) -> Iterator[Running]:
    """Yield the running gateway of this home, or one in this process when none runs."""
    found = find_running(home)
    if found is not None:
        yield found
        return
    with open_recorder() as recorder, running_gateway(home, settings, recorder) as own:
        yield own


__all__ = [
    "Running",
    "find_running",
    "reach_gateway",
    "running_gateway",
    "serve",
]
