from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.event import encode, make_event, new_id
from appliance.audit.layout import CHECKPOINT, WAL
from appliance.audit.note import SeedSigner, open_checkpoint
from appliance.audit.shardlog import Peer, Place, ShardLog
from appliance.audit.wal import segments
from appliance.core.clock import FixedClock
from appliance.core.errors import (
    AuditEntryRefusedError,
    AuditLogDamagedError,
    AuditPeerRefusedError,
)
from appliance.core.settings.audit import AuditSettings

PEER = Peer(4242, 1000)


def body(**more: Any) -> bytes:
    fields = {
        "id": new_id(),
        "time": "2026-01-02T03:04:05.000006Z",
        "counter": 1,
        "phase": "event",
        "action": "data.import",
        "type": "110107",
        "crude": "C",
        "component": "import",
    }
    return encode(make_event(**{**fields, **more}))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    clock = FixedClock(datetime(2026, 1, 2, tzinfo=UTC))
    return Place(tmp_path / "log-0001", 1, SeedSigner.generate(), AuditSettings(), clock)


def clock_of(place: Place) -> FixedClock:
    assert isinstance(place.clock, FixedClock)
    return place.clock


def values(log: ShardLog) -> list[dict[str, Any]]:
    return [json.loads(log.read_entry(n)) for n in range(log.frontier.size)]


def test_the_writer_stamps_place_time_and_peer(place: Place) -> None:
    log = ShardLog.create(place)
    assert log.accept([body(), body()], PEER) == 0
    assert log.accept([body()], PEER) == 2
    log.commit_now()
    written = [v["written"] for v in values(log)]
    assert written[2] == {
        "at": "2026-01-02T00:00:00.000000Z",
        "log": 1,
        "n": 2,
        "pid": 4242,
        "uid": 1000,
    }


def test_a_clock_set_back_is_recorded_with_both_times(place: Place) -> None:
    log = ShardLog.create(place)
    log.accept([body()], PEER)
    clock_of(place).advance(-3600)
    assert log.accept([body()], PEER) == 2
    clock_of(place).advance(-0.5)
    log.accept([body()], PEER)
    log.commit_now()
    said = [v for v in values(log) if v["action"] == "audit.clock_back"]
    assert [v["detail"] for v in said] == [
        {
            "after": "2026-01-01T23:00:00.000000Z",
            "before": "2026-01-02T00:00:00.000000Z",
            "seconds": 3600,
        }
    ]


def test_a_clock_set_back_while_the_writer_was_down_is_recorded(place: Place) -> None:
    log = ShardLog.create(place)
    log.accept([body()], PEER)
    log.commit_now()
    clock_of(place).advance(-86_400)
    again, _ = ShardLog.recover(place)
    again.accept([body()], PEER)
    again.commit_now()
    assert [v["action"] for v in values(again)][1] == "audit.clock_back"


def test_no_peer_speaks_in_the_writers_name(place: Place) -> None:
    log = ShardLog.create(place)
    with pytest.raises(AuditPeerRefusedError):
        log.accept([body(component="audit")], PEER)
    assert log.accept([body(component="audit")], Peer(os.getpid(), os.getuid())) == 0


def test_a_user_speaks_only_for_its_components(place: Place) -> None:
    settings = AuditSettings(components={"1000": ["gateway"]})
    log = ShardLog.create(Place(place.folder, 1, place.signer, settings, place.clock))
    with pytest.raises(AuditPeerRefusedError):
        log.accept([body()], PEER)
    log.accept([body(component="gateway")], PEER)
    log.accept([body()], Peer(1, 0))


def test_one_bad_entry_keeps_out_the_whole_request(place: Place) -> None:
    log = ShardLog.create(place)
    with pytest.raises(AuditEntryRefusedError):
        log.accept([body(), b"{}"], PEER)
    with pytest.raises(AuditEntryRefusedError):
        log.accept([body(), body(phase="outcome", outcome="success")], PEER)
    assert log.accept([body()], PEER) == 0


def test_what_is_durable_comes_back_without_a_checkpoint(place: Place) -> None:
    log = ShardLog.create(place)
    for _ in range(3):
        log.accept([body() for _ in range(150)], PEER)
        group = log.take_group()
        assert group is not None
        from appliance.audit.wal import pack_entries

        log.wal.append(pack_entries(group.entries))
        log.committed(group)  # the tiles and the checkpoint never reach the disk
    again, replay = ShardLog.recover(place)
    assert (again.frontier.size, again.frontier.root()) == (450, log.frontier.root())
    assert not replay.tail
    assert values(again) == values(log)


def test_an_intent_without_outcome_is_known_after_a_restart(place: Place) -> None:
    log = ShardLog.create(place)
    first, second = new_id(), new_id()
    log.accept([body(phase="intent", id=first), body(phase="intent", id=second)], PEER)
    log.accept([body(phase="outcome", intent=first, outcome="success")], PEER)
    log.commit_now()
    log.settle()
    again, _ = ShardLog.recover(place)
    assert again.open_intents == {second: 1}
    again.unknown_outcome(second, 1, again.read_entry(1))
    again.commit_now()
    last = values(again)[-1]
    assert (last["outcome"], last["intent"], last["reason"]) == ("unknown", second, "interrupted")
    assert last["action"] == "data.import"
    assert again.open_intents == {}


def test_a_long_log_goes_on_from_its_shortest_write_ahead_file(place: Place) -> None:
    log = ShardLog.create(place)
    for _ in range(6):
        log.accept([body() for _ in range(200)], PEER)
        log.commit_now()
    log.settle()
    assert [start for start, _ in segments(place.folder / WAL)] == [1024]
    again, _ = ShardLog.recover(place)
    assert again.frontier.root() == log.frontier.root()
    head, _, _ = open_checkpoint((place.folder / CHECKPOINT).read_bytes(), place.verifier)
    assert (head.size, head.root) == (1200, log.frontier.root())


@pytest.mark.parametrize("attack", ["older-checkpoint", "other-key", "shorter-wal", "no-wal"])
def test_a_log_that_was_changed_is_not_written_on(place: Place, attack: str) -> None:
    log = ShardLog.create(place)
    older = (place.folder / CHECKPOINT).read_bytes()
    log.accept([body() for _ in range(300)], PEER)
    log.commit_now()
    log.settle()
    path = segments(place.folder / WAL)[0][1]
    if attack == "older-checkpoint":
        (place.folder / CHECKPOINT).write_bytes(older)
    elif attack == "other-key":
        place = Place(place.folder, 1, SeedSigner.generate(), place.settings, place.clock)
    elif attack == "shorter-wal":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with pytest.raises(Exception) as caught:  # noqa: PT011 - two classes of the tree, checked next
        ShardLog.recover(place)
    assert type(caught.value).__name__ in {"AuditLogDamagedError", "AuditNoteInvalidError"}


def test_partial_tiles_of_older_checkpoints_go(place: Place) -> None:
    log = ShardLog.create(place)
    for _ in range(3):
        log.accept([body() for _ in range(100)], PEER)
        log.commit_now()
    names = sorted(p.name for p in place.folder.rglob("*.p/*"))
    assert names == ["1", "44", "44"]


def test_damage_before_the_signed_size_is_not_survived_silently(place: Place) -> None:
    log = ShardLog.create(place)
    log.accept([body() for _ in range(10)], PEER)
    log.commit_now()
    path = segments(place.folder / WAL)[0][1]
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(AuditLogDamagedError):
        ShardLog.recover(place)
