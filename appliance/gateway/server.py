"""The gateway as a process: put together, listening, drained, stopped."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import FrameType

import uvicorn
from fastapi import FastAPI

from appliance.audit.officer import WitnessCollector
from appliance.audit.pseudonym import Pseudonyms
from appliance.audit.recorder import Recorder
from appliance.core.clock import Clock, SystemClock
from appliance.core.errors import EngineUnavailableError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.gateway.admission import Admission, Limits
from appliance.gateway.answering import Answering
from appliance.gateway.app import create_app
from appliance.gateway.guard import shipped_rules
from appliance.gateway.keeper import Keeper, Load, PromotedModel
from appliance.gateway.keys import KeyStore
from appliance.gateway.metrics import Metrics
from appliance.inference.engine import Engine
from appliance.inference.registered import open_engine, registered
from appliance.registry.store import ModelStore

LOG_THREADS = 4  # writes to the log wait for the disk together; more threads do not help
BACKLOG = 128  # connections the kernel holds while the loop is busy


@dataclass(frozen=True)
class Parts:
    """A gateway put together, not yet listening."""

    app: FastAPI
    answering: Answering
    keys: KeyStore
    settings: Settings


@dataclass(frozen=True)
class Sources:
    """Where the model comes from; tests name their own."""

    promoted: PromotedModel
    load: Load


def registry_sources(home: Home, settings: Settings) -> Sources:
    """Return the audit log's promotions and the registry's verified files."""
    from appliance.gateway.promoted import AuditPromoted

    store = ModelStore(home)

    def load(content: str) -> Engine:
        return open_engine(registered(store, content), settings.inference, home)

    return Sources(AuditPromoted(home), load)


def assemble(
    home: Home,
    settings: Settings,
    recorder: Recorder,
    sources: Sources | None = None,
    clock: Clock | None = None,
) -> Parts:
    """Return the gateway of ``home``."""
    found = sources or registry_sources(home, settings)
    time = clock or SystemClock()
    limits = settings.gateway
    embedded = settings.inference.engine == "embedded"
    slots = 1 if embedded else settings.inference.parallel_requests
    admission = Admission(
        Limits(slots, limits.queue_requests, limits.queue_per_principal, limits.queue_timeout_s)
    )
    keys = KeyStore(home, time)
    answering = Answering(
        settings=limits,
        keeper=Keeper(found.promoted, found.load, limits.promotion_check_s),
        admission=admission,
        recorder=recorder,
        metrics=Metrics(WitnessCollector(home, settings.audit, time)),
        rules=shipped_rules(),
        clock=time,
        executor=ThreadPoolExecutor(slots, thread_name_prefix="engine"),
        log_executor=ThreadPoolExecutor(LOG_THREADS, thread_name_prefix="log"),
        pseudonyms=Pseudonyms(home),
    )
    return Parts(create_app(limits, answering, keys, time), answering, keys, settings)


class GatewayServer(uvicorn.Server):
    """Uvicorn that refuses new work at once when told to stop, and lets running answers end."""

    def __init__(self, parts: Parts) -> None:
        """Serve ``parts``."""
        limits = parts.settings.gateway
        super().__init__(
            uvicorn.Config(
                parts.app,
                host=limits.host,
                port=limits.port,
                http="h11",
                ws="none",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_graceful_shutdown=limits.drain_s,
                ssl_certfile=limits.tls_certificate,
                ssl_keyfile=limits.tls_key,
            )
        )
        self._admission = parts.answering.admission
        self.on_listening: Callable[[], None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle SIGTERM and SIGINT while serving.

        Uvicorn raises the signal again afterwards, which would end the process before the stop is
        recorded and the engine's folder is gone.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {s: signal.signal(s, self.handle_exit) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain on SIGTERM or SIGINT."""
        self.drain()
        super().handle_exit(sig, frame)

    def drain(self) -> None:
        """Refuse new requests and end once the running ones have ended."""
        self._admission.draining = True
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, then say so."""
        await super().startup(sockets)
        if self.started and self.on_listening is not None:
            self.on_listening()


def listening_socket(settings: Settings) -> socket.socket:
    """Return a bound socket (port 0 takes a free one); a port in use is refused in words."""
    host, port = settings.gateway.host, settings.gateway.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise EngineUnavailableError(
            expected=f"the address {host} port {port} to be free",
            found=error.strerror or "an error",
            remedy="Stop what listens there, or name another port with --port.",
        ) from error
    return sock


def base_url(settings: Settings, sock: socket.socket) -> str:
    """Return the URL clients use, ending in ``/v1``."""
    scheme = "https" if settings.gateway.tls_certificate else "http"
    host = settings.gateway.host
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{sock.getsockname()[1]}/v1"
