"""The producer's end of the socket: connect, start the writer when none runs, append.

Threads may share a client. Requests are pipelined: each thread sends under a lock and waits for
its own answer, which one of the waiting threads reads for all (answers come in order).
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.audit import wire
from appliance.audit.peers import short_path, socket_path
from appliance.core.errors import (
    ApplianceError,
    AuditFullError,
    AuditUnavailableError,
    BusyError,
    all_errors,
)
from appliance.core.home import Home
from appliance.core.settings import load_settings
from appliance.core.settings.audit import AuditSettings

WRITER_LOG = "audit-writer.log"
POLL_S = 0.02
LEAVING = {"ConnectionResetError", "BrokenPipeError"}  # a writer that ends closes its socket last
LEAVING_TRIES = 100
READ_BYTES = 1 << 16


@dataclass
class Ticket:
    """A request that was sent and waits for its answer."""

    ready: threading.Event = field(default_factory=threading.Event)
    answer: wire.Frame | None = None
    error: Exception | None = None


class SocketSink:
    """A connection to the writer that comes back by itself after a fork or a writer's restart."""

    def __init__(self, dial: Callable[[], socket.socket], timeout_s: float) -> None:
        self._dial = dial
        self._timeout = timeout_s
        self._sending = threading.Lock()
        self._reading = threading.Lock()
        self._socket: socket.socket | None = None
        self._pid = 0
        self._waiting: deque[Ticket] = deque()
        self._buffer = bytearray()

    def append(self, bodies: Sequence[bytes]) -> list[int]:
        """Append ``bodies`` side by side; return their indices when they are durable."""
        ticket = self.send(wire.append_frame(bodies))
        answer = self.wait(ticket)
        first, count, _ = wire.PLACE.unpack(answer.payload)
        if answer.kind != wire.DONE or count != len(bodies):
            raise _unavailable("the place of the entries", "another answer")
        return list(range(first, first + count))

    def ask(self, kind: int) -> dict[str, Any]:
        """Send a request without payload and return the writer's report."""
        answer = self.wait(self.send(wire.frame(kind)))
        value: dict[str, Any] = json.loads(answer.payload)
        return value

    def send(self, data: bytes) -> Ticket:
        """Send a request now; :meth:`wait` gives its answer (for producers that pipeline)."""
        with self._sending:
            ticket = Ticket()
            try:
                connection = self._connection()
                self._waiting.append(ticket)
                connection.sendall(data)
            except OSError as error:
                self._drop(error)
                raise _unavailable("a connection to the log", _word(error)) from error
            return ticket

    def wait(self, ticket: Ticket) -> wire.Frame:
        """Return the answer to ``ticket`` or raise what the writer said."""
        deadline = time.monotonic() + self._timeout
        while not ticket.ready.is_set():
            if self._reading.acquire(timeout=POLL_S):
                try:
                    if not ticket.ready.is_set():
                        self._read(deadline)
                finally:
                    self._reading.release()
            if time.monotonic() > deadline and not ticket.ready.is_set():
                self._drop(TimeoutError())
        if ticket.error is not None:
            raise ticket.error
        assert ticket.answer is not None
        return ticket.answer

    def close(self) -> None:
        """Close the connection."""
        with self._sending:
            self._drop(ConnectionAbortedError())

    def _connection(self) -> socket.socket:
        if self._socket is None or self._pid != os.getpid():
            self._waiting = deque()  # a forked child leaves the parent's answers to the parent
            self._buffer = bytearray()
            self._socket = self._dial()
            self._pid = os.getpid()
        return self._socket

    def _read(self, deadline: float) -> None:
        connection = self._socket
        if connection is None:
            return
        try:
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            data = connection.recv(READ_BYTES)
            if not data:
                raise ConnectionResetError
            self._buffer += data
            for frame in wire.take_frames(self._buffer, wire.ANSWERS):
                self._deliver(frame)
        except (OSError, ApplianceError) as error:
            self._drop(error)

    def _deliver(self, frame: wire.Frame) -> None:
        error = _error_of(frame) if frame.kind == wire.REFUSED else None
        if not self._waiting:  # the writer refused the connection itself
            raise error or ConnectionResetError()
        ticket = self._waiting.popleft()
        ticket.answer, ticket.error = frame, error
        ticket.ready.set()

    def _drop(self, error: Exception) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.close()
        reason = error
        if not isinstance(error, ApplianceError):
            reason = _unavailable("an answer that the entry is durable", _word(error))
        waiting, self._waiting = self._waiting, deque()
        for ticket in waiting:
            ticket.error = reason
            ticket.ready.set()


def connect(home: Home, *, start: bool = True) -> SocketSink:
    """Return a client of the writer of ``home``; start one when none runs and ``start`` is set.

    Raises :class:`AuditUnavailableError` when there is no writer in time.
    """
    settings = load_settings(home.settings_file).audit
    start = start and settings.start_on_demand
    sink = SocketSink(lambda: _dial(home, settings, start=start), settings.reply_timeout_s)
    for _ in range(LEAVING_TRIES):
        try:
            sink.ask(wire.STATUS)
        except AuditUnavailableError as error:
            sink.close()
            if error.found not in LEAVING:
                raise
            time.sleep(POLL_S)
        else:
            return sink
    raise _unavailable("a writer that answers", "one that is leaving")


def _dial(home: Home, settings: AuditSettings, *, start: bool) -> socket.socket:
    """Connect; when nobody listens, start the writer and try until it does."""
    deadline = time.monotonic() + settings.start_timeout_s
    started: subprocess.Popen[bytes] | None = None
    while True:
        try:
            return _connect(home, settings.reply_timeout_s)
        except (FileNotFoundError, ConnectionRefusedError) as error:
            if not start:
                raise _unavailable("a running audit writer", "none") from error
        except OSError as error:
            raise _unavailable("a connection to the log", _word(error)) from error
        if started is None:
            started = _start(home)
        code = started.poll()
        if code == BusyError.exit_code:
            started = None  # another writer holds the lock: it is starting or just leaving
        elif code:
            raise _start_error(home, code)
        if time.monotonic() > deadline:
            raise _unavailable("a writer within audit.start_timeout_s", "none yet")
        time.sleep(POLL_S)


def _connect(home: Home, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        with short_path(socket_path(home)) as name:
            connection.connect(name)
    except BaseException:
        connection.close()
        raise
    return connection


def _start(home: Home) -> subprocess.Popen[bytes]:
    """Start the writer in a session of its own: it outlives whoever needed it first.

    Started by root it runs as the owner of the log: what it writes stays the appliance's own.
    """
    home.prepare()
    owner = writer_owner(home)
    with (home.run / WRITER_LOG).open("ab") as log:
        if owner:
            os.fchown(log.fileno(), owner["user"], owner["group"])
        process = subprocess.Popen(
            [sys.executable, "-m", "appliance.audit.writer", "--home", str(home.root.absolute())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
            **owner,
        )
    _STARTED[:] = [*(p for p in _STARTED if p.poll() is None), process]
    return process


def writer_owner(home: Home) -> dict[str, Any]:
    """Return the user and group for ``Popen`` when root starts the log of somebody else."""
    if os.geteuid() != 0 or not home.audit.is_dir():
        return {}
    status = home.audit.stat()
    if status.st_uid == 0:
        return {}
    return {"user": status.st_uid, "group": status.st_gid, "extra_groups": []}


_STARTED: list[subprocess.Popen[bytes]] = []  # kept, so that a writer that ended is reaped


def _start_error(home: Home, code: int) -> ApplianceError:
    """Return the error a writer that could not start left behind."""
    try:
        lines = (home.run / WRITER_LOG).read_text("utf-8", "replace").strip().splitlines()
    except OSError:
        lines = []
    found = lines[-1] if lines else f"exit code {code}"
    cls = AuditFullError if code == AuditFullError.exit_code else AuditUnavailableError
    return cls(expected="an audit writer that starts", found=found)


def _error_of(frame: wire.Frame) -> ApplianceError:
    """Return the writer's error as the class it had there."""
    value = json.loads(frame.payload)
    cls = {c.id: c for c in all_errors()}.get(value.get("id"), AuditUnavailableError)
    return cls(
        expected=value.get("expected", ""),
        found=value.get("found", ""),
        remedy=value.get("remedy"),
    )


def _word(error: Exception) -> str:
    return type(error).__name__


def _unavailable(expected: str, found: str) -> AuditUnavailableError:
    return AuditUnavailableError(expected=expected, found=found)
