"""Serving the console: TLS, one process, nothing about requests on standard error."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn

from appliance.audit.client import connect
from appliance.audit.recorder import Recorder, operating_user
from appliance.console.app import create_app, make_console
from appliance.console.store import exports_folder
from appliance.core.durable import sweep_temporaries
from appliance.core.errors import ConsoleInsecureError, HomeUnusableError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.core.settings.console import LOOPBACK

BACKLOG: Final = 64  # connections that wait while the console starts


def check_secure(host: str, certificate: Path | None, key: Path | None) -> bool:
    """Return whether TLS is used; raises where passwords would pass the network in clear."""
    if (certificate is None) != (key is None):
        raise ConsoleInsecureError(expected="a certificate and its key", found="one of them")
    if certificate is None and host not in LOOPBACK:
        raise ConsoleInsecureError(expected="TLS to listen beyond loopback", found="none")
    for path in (certificate, key):
        if path is not None and not path.is_file():
            raise ConsoleInsecureError(expected="a PEM file", found=f"no file {path}")
    return certificate is not None


def serve(  # noqa: PLR0913, PLR0917 - where to listen and how
    home: Home,
    settings: Settings,
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    announce: Callable[[str], None],
) -> None:
    """Serve until a signal ends it; ``announce`` hears the address."""
    secure = check_secure(host, certificate, key)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(BACKLOG)  # from here on a browser waits instead of being refused
    except OSError as error:
        raise HomeUnusableError(
            expected=f"a free port {port} on {host}", found=str(error.strerror)
        ) from error
    sink = connect(home)
    recorder = Recorder(sink, "console", user=operating_user())
    sweep_temporaries(exports_folder(home))
    console = make_console(home, settings, sink, secure=secure)
    recorder.event("console.started", detail={"tls": secure, "port": listening.getsockname()[1]})
    shown = f"[{host}]" if ":" in host else host
    announce(f"{'https' if secure else 'http'}://{shown}:{listening.getsockname()[1]}/")
    config = uvicorn.Config(
        create_app(console, hosts=(host,)),
        log_level="critical",  # a traceback could repeat what was typed
        access_log=False,
        server_header=False,
        date_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
        timeout_graceful_shutdown=10,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again when it has stopped; the log must still hear of it.
        signal.signal(number, lambda *_: None)
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        recorder.event("console.stopped")
        sink.close()
