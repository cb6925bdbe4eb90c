"""One shard as the writer runs it: stamp, commit, grow the tree, checkpoint, recover.

The order of things (see docs/developers/life-of-a-leaf.md): ``accept`` checks and stamps bodies,
``take_group`` collects them, ``WalFile.append`` makes the group durable, ``committed`` grows the
tree and returns the complete tiles. Nothing here knows of sockets or threads; the caller sees to
it that the write-ahead file and the store are each used by one thread at a time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from appliance.audit.codes import codes_for
from appliance.audit.event import (
    Stamp,
    check_body,
    encode,
    make_event,
    monotonic_counter,
    new_id,
    parse_entry,
)
from appliance.audit.frontier import Frontier
from appliance.audit.guard import Scalar, check_detail
from appliance.audit.layout import CHECKPOINT, VKEY, WAL
from appliance.audit.note import Checkpoint, Note, Signer, Verifier, open_checkpoint, sign
from appliance.audit.store import TileStore
from appliance.audit.wal import Replay, pack_entries, read_segments
from appliance.audit.walfile import WalFile
from appliance.core.clock import Clock, rfc3339
from appliance.core.durable import fsync_dir, new_folder, os_errors, write_bytes
from appliance.core.errors import (
    AuditEntryRefusedError,
    AuditLogDamagedError,
    AuditPeerRefusedError,
)
from appliance.core.settings.audit import AuditSettings

WRITER = "audit"


@dataclass(frozen=True)
class Peer:
    """Who is on the other end of the socket, in the kernel's words (SO_PEERCRED)."""

    pid: int
    uid: int


@dataclass(frozen=True)
class Place:
    """Which shard: its folder and number, and what it works with."""

    folder: Path
    number: int
    signer: Signer
    settings: AuditSettings
    clock: Clock

    @property
    def origin(self) -> str:
        """The name of the shard in its checkpoints."""
        return f"{self.settings.origin}/{self.number:04d}"

    @property
    def verifier(self) -> Verifier:
        """The key that signs the shard's checkpoints."""
        return Verifier(self.origin, self.signer.public_key)


@dataclass
class Group:
    """Entries that become durable together, and who waits for them."""

    entries: list[bytes] = field(default_factory=list)
    intents: list[tuple[str, str, int]] = field(default_factory=list)  # (phase, id, index)
    waiting: list[tuple[object, int, int]] = field(default_factory=list)  # (who, first, count)
    size: int = 0


class ShardLog:
    """An open shard. Build it with :meth:`create` or :meth:`recover`."""

    def __init__(self, place: Place, frontier: Frontier, wal: WalFile) -> None:
        self.folder = place.folder
        self.number = place.number
        self.origin = place.origin
        self.signer = place.signer
        self.settings = place.settings
        self.clock = place.clock
        self.frontier = frontier
        self.wal = wal
        self.store = TileStore(place.folder)
        self.open_intents: dict[str, int] = {}
        self.last_time = ""
        self.next_index = frontier.size
        self.signed_size = 0
        self._group = Group()
        self._last = self.clock.now()

    @classmethod
    def create(cls, place: Place) -> ShardLog:
        """Make an empty shard, whole or not at all."""
        frontier, origin = Frontier(), place.origin
        with new_folder(place.folder) as temp:
            (temp / WAL).mkdir()
            write_bytes(temp / VKEY, (place.verifier.vkey + "\n").encode())
            WalFile.create(temp / WAL, frontier.head(origin, {}, ""), []).close()
            text = Checkpoint(origin, 0, frontier.root()).text
            note = Note(text, (sign(text, origin, place.signer),))
            write_bytes(temp / CHECKPOINT, note.encode())
        replay = read_segments(place.folder / WAL, origin)
        assert replay is not None
        return cls(place, frontier, WalFile(replay.last, replay.end))

    @classmethod
    def recover(cls, place: Place) -> tuple[ShardLog, Replay]:
        """Open a shard after a stop or a crash: nothing acknowledged is missing afterwards.

        Raises :class:`AuditLogDamagedError` when the signed checkpoint and the write-ahead file
        do not agree: the log was changed or an older copy of a file was put back.
        """
        folder = place.folder
        with os_errors(folder / CHECKPOINT):
            data = (folder / CHECKPOINT).read_bytes()
        checkpoint, _, _ = open_checkpoint(data, place.verifier)
        replay = read_segments(folder / WAL, place.origin)
        if replay is None:
            raise _damaged("a write-ahead file", f"none in {folder.name}")
        frontier, made = regrow(replay, checkpoint)
        log = cls(place, frontier, WalFile(replay.last, replay.end))
        log.signed_size = checkpoint.size
        log.store.write(made)
        log.store.sweep(replay.head.start, frontier.size, [name for name, _ in frontier.partials()])
        log.open_intents = dict(replay.head.open_intents)
        log.last_time = replay.head.last_time
        for index, entry in enumerate(replay.entries, replay.head.start):
            if b'"phase":"event"' not in entry or entry.count(b'"phase":') > 1:
                value = parse_entry(entry)
                log.note_intent(value["phase"], value.get("intent") or value["id"], index)
        if replay.entries:
            log.last_time = parse_entry(replay.entries[-1])["written"]["at"]
        if log.last_time:
            log._last = datetime.fromisoformat(log.last_time)
        return log, replay

    def accept(self, bodies: Sequence[bytes], peer: Peer) -> int:
        """Check and stamp ``bodies``; return the index of the first. All of them, or none.

        Raises :class:`AuditEntryRefusedError` or :class:`AuditPeerRefusedError`.
        """
        values = [check_body(body) for body in bodies]
        allowed = self.settings.components.get(str(peer.uid))
        for value in values:
            check_detail(value.get("detail", {}))
            if value["component"] == WRITER and peer.pid != os.getpid():
                raise AuditPeerRefusedError(
                    expected="events of the component itself", found="the writer's own name"
                )
            if allowed is not None and value["component"] not in allowed:
                raise AuditPeerRefusedError(
                    expected=f"a component that user id {peer.uid} may name",
                    found="another component",
                )
            if value["phase"] == "outcome" and "intent" not in value:
                raise AuditEntryRefusedError(
                    expected="an outcome that names its intent", found="none"
                )
        at = self._time()
        first = self.next_index
        for body, value in zip(bodies, values, strict=True):
            self._put(body, value, at, peer)
        return first

    def say(self, action: str, detail: dict[str, Scalar] | None = None, **fields: Any) -> int:
        """Stamp an event of the writer itself into the next group; return its index."""
        codes = codes_for(action)
        given: dict[str, Any] = {
            "id": new_id(),
            "time": rfc3339(self.clock.now()),
            "counter": monotonic_counter(),
            "phase": "event",
            "action": action,
            "type": codes.type,
            "subtype": codes.subtype,
            "crude": codes.crude,
            "component": WRITER,
            "detail": detail or {},
        }
        body = encode(make_event(**{**given, **fields}))
        index = self.next_index
        own = Peer(os.getpid(), os.getuid())
        self._put(body, check_body(body), rfc3339(self.clock.now()), own)
        return index

    def _put(self, body: bytes, value: dict[str, Any], at: str, peer: Peer) -> None:
        index = self.next_index
        entry = body[:-1] + Stamp(at, self.number, index, peer.pid, peer.uid).suffix()
        group = self._group
        group.entries.append(entry)
        group.size += len(entry)
        if value["phase"] != "event":
            group.intents.append((value["phase"], value.get("intent") or value["id"], index))
        self.next_index += 1

    def _time(self) -> str:
        """Return the time to stamp; a clock that went back is said so, with both times."""
        now = self.clock.now()
        last, self._last = self._last, now
        if now < last - timedelta(milliseconds=self.settings.clock_back_ms):
            self.say(
                "audit.clock_back",
                {
                    "before": rfc3339(last),
                    "after": rfc3339(now),
                    "seconds": round((last - now).total_seconds(), 3),
                },
            )
        self.last_time = rfc3339(now)
        return self.last_time

    @property
    def pending(self) -> Group:
        """What is stamped and not yet handed to the disk."""
        return self._group

    def take_group(self) -> Group | None:
        """Take what is pending, to be made durable as one group."""
        if not self._group.entries:
            return None
        group, self._group = self._group, Group()
        return group

    def committed(self, group: Group) -> list[tuple[str, bytes]]:
        """Grow the tree by a durable group; return the tiles that became complete."""
        for phase, ident, index in group.intents:
            self.note_intent(phase, ident, index)
        return self.frontier.append(group.entries)

    def failed(self) -> Group:
        """Give back the indices of everything that is not durable; return what was pending."""
        group, self._group = self._group, Group()
        self.next_index = self.frontier.size
        return group

    def note_intent(self, phase: str, ident: str, index: int) -> None:
        """Remember an intent until its outcome comes."""
        if phase == "intent":
            self.open_intents[ident] = index
        elif phase == "outcome":
            self.open_intents.pop(ident, None)

    def unknown_outcome(self, ident: str, index: int, entry: bytes) -> None:
        """Say that what became of the intent ``ident`` is not known."""
        kept = _carried(entry)
        self.say(
            detail={"intent_index": index},
            **{**kept, "phase": "outcome", "outcome": "unknown"},
            reason="interrupted",
            intent=ident,
        )

    def give_up_oldest_intent(self) -> None:
        """Make the oldest open intent an explicit unknown: their number is bounded."""
        ident, index = next(iter(self.open_intents.items()))
        with contextlib.suppress(LookupError):  # its tile is still on the way to the disk
            self.unknown_outcome(ident, index, self.read_entry(index))
            del self.open_intents[ident]

    def carry_intent(self, ident: str, entry: bytes) -> None:
        """Write again, as the writer's own entry, an intent that outlived its shard."""
        kept = _carried(entry)
        kept["detail"] = {"carried_from": self.number - 1}
        self.say(**{**kept, "id": ident, "phase": "intent"})

    def read_entry(self, index: int) -> bytes:
        """Return a durable entry, from the incomplete bundle or from the disk."""
        start = self.frontier.size - len(self.frontier.entries)
        if index >= start:
            return self.frontier.entries[index - start]
        return self.store.entry(index)

    def close_for_good(self) -> None:
        """Leave a closed shard as a plain tlog-tiles folder, without a write-ahead file."""
        self.wal.close()
        self.store.sync()
        shutil.rmtree(self.folder / WAL)
        fsync_dir(self.folder)

    def note(self, size: int, root: bytes) -> bytes:
        """Sign a checkpoint (an HSM takes its time: not on the thread that serves peers)."""
        text = Checkpoint(self.origin, size, root).text
        return Note(text, (sign(text, self.origin, self.signer),)).encode()

    def commit_now(self) -> None:
        """Make what is pending durable and the checkpoint cover it, on this thread."""
        group = self.take_group()
        if group is not None:
            self.commit(group)
            self.store.write(self.committed(group))
        self.checkpoint_now()

    def commit(self, group: Group) -> None:
        """Make a group durable (the writer does it on a thread of its own)."""
        self.wal.append(pack_entries(group.entries))

    def checkpoint_now(self) -> None:
        """Sign and publish a checkpoint over everything durable, on this thread."""
        size = self.frontier.size
        self.store.publish(self.note(size, self.frontier.root()), self.frontier.partials())
        self.signed_size = size

    def new_segment(self) -> WalFile:
        """Make the next write-ahead segment (the caller retires the old one after a flush)."""
        head = self.frontier.head(self.origin, self.open_intents, self.last_time)
        return WalFile.create(self.folder / WAL, head, self.frontier.entries)

    def settle(self) -> None:
        """Leave the shortest write-ahead file that can go on from here."""
        head_start = self.frontier.size - len(self.frontier.entries)
        wal = self.new_segment()
        self.wal.close()
        self.wal = wal
        self.store.retire(head_start)


_CARRIED = frozenset(
    {"action", "type", "crude", "user", "role", "session", "purpose", "patient", "object_id"}
    | {"request_id", "model", "adapter", "dataset"}
)


def _carried(entry: bytes) -> dict[str, Any]:
    """Return the members of an intent that its later entries repeat."""
    return {key: value for key, value in parse_entry(entry).items() if key in _CARRIED}


def regrow(replay: Replay, checkpoint: Checkpoint) -> tuple[Frontier, list[tuple[str, bytes]]]:
    """Grow the tree again from a write-ahead file; it must pass through the signed checkpoint."""
    start, end = replay.head.start, replay.head.start + len(replay.entries)
    if not start <= checkpoint.size <= end:
        raise _damaged(f"a checkpoint over {start} to {end} entries", f"one over {checkpoint.size}")
    try:
        frontier = Frontier(start, replay.head.edge)
    except ValueError as error:
        raise _damaged("the right edge of the tree", str(error)) from error
    covered = checkpoint.size - start
    made = frontier.append(replay.entries[:covered])
    if frontier.root() != checkpoint.root:
        raise _damaged(f"entries that lead to the signed root at {checkpoint.size}", "another root")
    made += frontier.append(replay.entries[covered:])
    return frontier, made


def tail_detail(replay: Replay) -> dict[str, Scalar]:
    """Return what the log says about bytes cut off the write-ahead file."""
    return {
        "bytes": len(replay.tail),
        "sha256": hashlib.sha256(replay.tail).hexdigest(),
        "trouble": replay.trouble,
    }


def _damaged(expected: str, found: str) -> AuditLogDamagedError:
    return AuditLogDamagedError(expected=expected, found=found)
