"""The writer's loop: peers in, groups to the disk, indices back, checkpoints on time.

One thread owns the log; a committer thread flushes one group while the next gathers, so the
groups grow with the load by themselves; a store thread writes tiles and signs checkpoints.
"""

from __future__ import annotations

import contextlib
import math
import os
import selectors
import socket
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.audit import wire
from appliance.audit.peers import Connection, listen, may_write, peer_of
from appliance.audit.shardlog import Group, ShardLog
from appliance.audit.wal import pack_entries
from appliance.audit.walfile import WalFile
from appliance.audit.workers import Result, Worker, disk_full, refusal_of, resident_bytes
from appliance.core.clock import Clock
from appliance.core.errors import (
    ApplianceError,
    AuditFullError,
    AuditPeerRefusedError,
    AuditUnavailableError,
)
from appliance.core.settings.audit import AuditSettings

READ_BYTES = 1 << 18
UNREAD_BYTES = 1 << 20  # answers a peer may leave unread before it is dropped
TICK_S = 0.25
LAST_S = 5.0  # how long a stop waits for tiles on a full disk; the next start makes them


class Server:
    """Serves one log until it is told to stop, has nobody left, or cannot go on."""

    def __init__(
        self, log: ShardLog, path: Path, settings: AuditSettings, clock: Clock, *, stay: bool
    ) -> None:
        """Serve ``log`` on the socket ``path``; with ``stay`` an idle writer does not leave."""
        self.log = log
        self.settings = settings
        self.clock = clock
        self.path = path
        self.stay = stay
        self.stopping = self.asked = False
        self.opened_in_s = 0.0
        self.broken: Exception | None = None
        self.behind = False  # the disk is so full that tiles are left for the next start
        self.on_rotate: Any = None  # set by the writer: closes this shard, returns the next
        self.on_full: Callable[[], None] = lambda: None  # gives the reserve back to the disk
        self._connections: set[Connection] = set()
        self._results: deque[Result] = deque()
        self._wake_out, self._wake_in = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._committer = Worker("commit", self._results, self.wake, retry=False)
        self._store = Worker("store", self._results, self.wake, retry=True)
        self._syncing: list[tuple[Connection, int]] = []
        self._rotating: list[Connection] = []
        self._queued_size = log.signed_size
        self._signing = False
        self._signed_at = self._busy_at = clock.monotonic()
        self._segment_start = 0
        self._full_until = 0.0
        self._refused: dict[int, float] = {}
        self._selector = selectors.DefaultSelector()
        self._listener = listen(path, settings.peers)
        self._inode = path.stat().st_ino
        self._selector.register(self._listener, selectors.EVENT_READ, self._listener)
        self._selector.register(self._wake_out, selectors.EVENT_READ, None)

    def wake(self) -> None:
        """Let the loop look around (from any thread or signal handler)."""
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(self._wake_in, b"x")

    def stop(self, *_: Any) -> None:
        """Ask the loop to end (also a signal handler)."""
        self.stopping = self.asked = True
        self.wake()

    def run(self) -> None:
        """Serve. Afterwards everything accepted is durable, tiled and signed, or was refused."""
        self._committer.start()
        self._store.start()
        while not self.stopping and self.broken is None:
            self._round(TICK_S)
            self._keep_house()
        self._selector.unregister(self._listener)
        self._listener.close()
        if self._is_full():
            self.on_full()
        self.drain(LAST_S)
        for connection in list(self._connections):
            self._close(connection)
        self._committer.end()
        self._store.end()

    def drain(self, limit_s: float = math.inf) -> None:
        """Wait until the disk has everything; after ``limit_s`` do not insist on tiles."""
        deadline = self.clock.monotonic() + limit_s
        while self.broken is None and (
            self._committer.waiting or self._store.waiting or self.log.pending.entries
        ):
            self._round(TICK_S, serve=False)
            self._store.giving_up = self.clock.monotonic() > deadline

    def _is_full(self) -> bool:
        return self._store.full or self.clock.monotonic() < self._full_until

    def _round(self, timeout: float, *, serve: bool = True) -> None:
        for key, mask in self._selector.select(timeout):
            if key.data is None:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_out, 4096)
            elif not serve:
                continue
            elif key.data is self._listener:
                self._welcome()
            else:
                if mask & selectors.EVENT_WRITE:
                    self._send(key.data)
                if mask & selectors.EVENT_READ and key.data.open:
                    self._receive(key.data)
        self._take_results()
        self._kick()
        while (
            self.log.pending.size > self.settings.pending_bytes
            and self._committer.waiting
            and self.broken is None
        ):
            self._selector.select(TICK_S)  # the disk is behind: take nothing more until it is not
            self._take_results()
            self._kick()

    # Peers

    def _welcome(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            return
        accepted.settimeout(0.0)
        peer = peer_of(accepted)
        connection = Connection(accepted, peer)
        self._connections.add(connection)
        self._selector.register(accepted, selectors.EVENT_READ, connection)
        self._busy_at = self.clock.monotonic()
        if not may_write(peer, self.settings.allowed_uids):
            self._note_foreigner(peer.uid)
            self._answer(
                connection,
                wire.refused_frame(
                    AuditPeerRefusedError(
                        expected="a user of audit.allowed_uids", found=f"user id {peer.uid}"
                    )
                ),
                close=True,
            )
        elif len(self._connections) > self.settings.peers:
            self._answer(
                connection,
                wire.refused_frame(
                    AuditUnavailableError(
                        expected=f"at most {self.settings.peers} connections", found="one more"
                    )
                ),
                close=True,
            )

    def _note_foreigner(self, uid: int) -> None:
        now = self.clock.monotonic()
        if now - self._refused.get(uid, -1e9) >= 60:  # noqa: PLR2004 - one a minute: a refused peer must not fill the log
            self._refused[uid] = now
            self.log.say("audit.peer_refused", {"peer_uid": uid}, outcome="refused")

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._close(connection)
            return
        if connection.closing:
            return
        connection.received += data
        try:
            for frame in wire.take_frames(connection.received, wire.REQUESTS):
                self._serve(connection, frame)
        except ApplianceError as error:
            self._answer(connection, wire.refused_frame(error), close=True)

    def _serve(self, connection: Connection, frame: wire.Frame) -> None:
        try:
            if frame.kind == wire.APPEND:
                self._append(connection, frame.payload)
            elif frame.kind == wire.STATUS:
                self._answer(connection, wire.report_frame(self.status()))
            elif frame.kind == wire.SYNC:
                self._syncing.append((connection, self.log.next_index))
            elif connection.peer.uid not in {0, os.getuid()}:
                raise AuditPeerRefusedError(expected="the log's own user", found="another user")
            elif frame.kind == wire.ROTATE:
                self._rotating.append(connection)
            else:
                self._answer(connection, wire.report_frame({"stopping": True}))
                self.stop()
        except ApplianceError as error:
            self._answer(connection, wire.refused_frame(error))

    def _append(self, connection: Connection, payload: bytes) -> None:
        if self.broken is not None:
            raise AuditUnavailableError(expected="a writer that can write", found="a broken one")
        if self._is_full():
            raise AuditFullError(expected="space for the log", found="a full disk")
        bodies = wire.entries_of(payload, self.settings.batch_entries)
        first = self.log.accept(bodies, connection.peer)
        self.log.pending.waiting.append((connection, first, len(bodies)))

    def _answer(self, connection: Connection, data: bytes, *, close: bool = False) -> None:
        if not connection.open:
            return
        connection.to_send += data
        connection.closing = connection.closing or close
        self._send(connection)

    def _send(self, connection: Connection) -> None:
        try:
            while connection.to_send:
                sent = connection.socket.send(connection.to_send)
                del connection.to_send[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._close(connection)
            return
        if len(connection.to_send) > UNREAD_BYTES:
            self._close(connection)
        elif connection.closing and not connection.to_send:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_WR)
            connection.to_send.clear()
            if not connection.writing:
                return
        wanted = bool(connection.to_send)
        if connection.open and wanted != connection.writing:
            connection.writing = wanted
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
            self._selector.modify(connection.socket, mask, connection)

    def _close(self, connection: Connection) -> None:
        if connection.open:
            connection.open = False
            self._selector.unregister(connection.socket)
            connection.socket.close()
            self._connections.discard(connection)
            self._busy_at = self.clock.monotonic()

    # The disk

    def _kick(self) -> None:
        """Give the committer the next group when it has nothing to do."""
        if self._committer.waiting or self.broken is not None:
            return
        log = self.log
        if log.wal.end - self._segment_start > self.settings.wal_segment_bytes:
            self._committer.put("segment", log.frontier.size, log.new_segment)
        elif (group := log.take_group()) is not None:
            payload = pack_entries(group.entries)
            self._committer.put("group", group, lambda: log.wal.append(payload))

    def _take_results(self) -> None:
        while self._results:
            result = self._results.popleft()
            worker = self._committer if result.job in {"group", "segment"} else self._store
            worker.waiting -= 1
            if result.error is not None:
                self._failed(result)
            elif result.job == "group":
                self._committed(result.about)
            elif result.job == "segment":
                self._switch(result.value)
            elif result.job == "checkpoint":
                self._signing = False
                self.log.signed_size = result.about
                self._answer_syncs()

    def _committed(self, group: Group) -> None:
        made = self.log.committed(group)
        for who, first, count in group.waiting:
            assert isinstance(who, Connection)
            self._answer(who, wire.done_frame(first, count, self.log.number))
        if made:
            store = self.log.store
            self._store.put("tiles", None, lambda: store.write(made))

    def _switch(self, wal: WalFile) -> None:
        log = self.log
        start = int(wal.path.stem.removeprefix("wal-"))
        log.wal.close()
        log.wal = wal
        self._segment_start = wal.end
        self._sign()  # a start finds a checkpoint that its segments reach
        self._store.put("retire", start, lambda: log.store.retire(start))

    def _failed(self, result: Result) -> None:
        error = result.error
        assert error is not None
        if result.job == "group":
            lost = self.log.failed()
            for group in (result.about, lost):
                for who, _, _ in group.waiting:
                    assert isinstance(who, Connection)
                    self._answer(who, wire.refused_frame(refusal_of(error)))
            if disk_full(error):
                self._full_until = self.clock.monotonic() + 1.0
                return
        elif result.job == "segment" and disk_full(error):
            self._full_until = self.clock.monotonic() + 1.0
            return
        elif disk_full(error):
            self.behind = True
            return
        self.broken = error

    def _answer_syncs(self) -> None:
        waiting, self._syncing = self._syncing, []
        for connection, size in waiting:
            if self.log.signed_size in {size, self.log.next_index} or self.log.signed_size > size:
                self._answer(connection, wire.report_frame(self.status()))
            else:
                self._syncing.append((connection, size))

    # Time

    def _keep_house(self) -> None:
        now = self.clock.monotonic()
        log = self.log
        self._kick()
        self._answer_syncs()
        due = now - self._signed_at >= self.settings.checkpoint_interval_s or self._syncing
        if due and not self._signing and log.frontier.size > log.signed_size:
            self._sign()
        if len(log.open_intents) > self.settings.open_intents:
            log.give_up_oldest_intent()
        if self._rotating and self.broken is None:
            self._rotate()
        if self._connections:
            self._busy_at = now
        elif not self.stay and 0 < self.settings.idle_exit_s < now - self._busy_at:
            self.stopping = True
        if not self._still_ours():
            self.stopping = True

    def _sign(self) -> None:
        """Let the store sign and publish a checkpoint over everything durable."""
        log = self.log
        self._signing, self._signed_at = True, self.clock.monotonic()
        size, root, partials = log.frontier.size, log.frontier.root(), log.frontier.partials()
        self._store.put(
            "checkpoint", size, lambda: log.store.publish(log.note(size, root), partials)
        )

    def _rotate(self) -> None:
        waiting, self._rotating, self._segment_start = self._rotating, [], 0
        self.drain()
        try:
            self.log = self.on_rotate(self.log)
            answer = wire.report_frame(self.status())
        except (ApplianceError, OSError) as error:  # half a rotation: the next start sorts it out
            self.broken = error
            answer = wire.refused_frame(refusal_of(error))
        for connection in waiting:
            self._answer(connection, answer)

    def _still_ours(self) -> bool:
        return self.path.exists() and self.path.stat().st_ino == self._inode

    def status(self) -> dict[str, Any]:
        """Return what the writer says."""
        return {
            "pid": os.getpid(),
            "log": self.log.number,
            "origin": self.log.origin,
            "size": self.log.frontier.size,
            "signed_size": self.log.signed_size,
            "open_intents": len(self.log.open_intents),
            "connections": len(self._connections),
            "opened_in_s": self.opened_in_s,
            "full": self._is_full(),
            "resident_bytes": resident_bytes(),
        }
