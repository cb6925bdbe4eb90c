from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.event import encode, make_event, new_id
from appliance.audit.index import Filter, open_index
from appliance.audit.indexcheck import check_index
from appliance.audit.layout import INDEX
from appliance.audit.note import SeedSigner
from appliance.audit.shardlog import Peer, Place, ShardLog
from appliance.core.clock import FixedClock
from appliance.core.errors import InputMissingError
from appliance.core.settings.audit import AuditSettings

DAY = datetime(2026, 1, 2, tzinfo=UTC)


def add(log: ShardLog, count: int, **fields: Any) -> list[str]:
    given = {
        "time": "2026-01-02T03:04:05.000006Z",
        "counter": 1,
        "phase": "event",
        "action": "gateway.chat",
        "type": "110110",
        "crude": "R",
        "component": "gateway",
    }
    ids = [new_id() for _ in range(count)]
    bodies = [encode(make_event(**{**given, "id": ident, **fields})) for ident in ids]
    log.accept(bodies, Peer(1, 0))
    log.commit_now()
    return ids


@pytest.fixture
def log(tmp_path: Path) -> ShardLog:
    place = Place(tmp_path / "log-0001", 1, SeedSigner.generate(), AuditSettings(), FixedClock(DAY))
    return ShardLog.create(place)


def test_filters_find_what_they_name_and_nothing_else(log: ShardLog, tmp_path: Path) -> None:
    add(log, 300, user="a", patient="p1", model="m1")
    add(log, 20, user="b", patient="p2", outcome="refused", break_glass=True)
    add(log, 5, user="b", action="gatewayed.other", object_id="record-9")
    with open_index(tmp_path) as index:
        assert index.count(Filter()) == 325
        assert index.count(Filter(user="b")) == 25
        assert index.count(Filter(user="b", outcome="refused")) == 20
        assert index.count(Filter(break_glass=True)) == 20
        assert index.count(Filter(action="gateway")) == 320
        assert index.count(Filter(action="gateway.*")) == 320
        assert index.count(Filter(action="gateway.chat", model="m1")) == 300
        assert index.count(Filter(object_id="record-9")) == 5
        assert index.count(Filter(user="nobody")) == 0
        assert index.search(Filter(user="nobody")) == []
        assert index.values("user") == [("a", 300), ("b", 25)]
        assert index.values("patient", prefix="p2") == [("p2", 20)]
        row = index.search(Filter(object_id="record-9"), limit=1)[0]
        assert (row.n, row.user, row.action) == (324, "b", "gatewayed.other")


def test_pages_follow_each_other_in_both_directions(log: ShardLog, tmp_path: Path) -> None:
    add(log, 40, user="a")
    with open_index(tmp_path) as index:
        first = index.search(Filter(user="a"), limit=25)
        second = index.search(Filter(user="a"), limit=25, before=first[-1].key)
        assert [r.n for r in first + second] == list(range(39, -1, -1))
        back = index.search(Filter(user="a"), limit=5, after=second[0].key)
        assert [r.n for r in back] == [15, 16, 17, 18, 19]


def test_dates_and_days_are_those_of_the_writer(log: ShardLog, tmp_path: Path) -> None:
    clock = log.clock
    assert isinstance(clock, FixedClock)
    add(log, 3, user="a")
    clock.advance(86_400)
    add(log, 4, user="b")
    with open_index(tmp_path) as index:
        assert index.per_day(Filter()) == [("2026-01-02", 3), ("2026-01-03", 4)]
        assert index.per_day(Filter(user="b")) == [("2026-01-03", 4)]
        assert index.count(Filter(since=DAY + timedelta(days=1))) == 4
        assert index.count(Filter(until=DAY + timedelta(days=1))) == 3


def test_the_index_catches_up_and_finds_ids_and_outcomes(log: ShardLog, tmp_path: Path) -> None:
    (intent,) = add(log, 1, phase="intent")
    with open_index(tmp_path) as index:
        assert index.outcomes_of(intent) == []
        add(log, 1, phase="outcome", intent=intent, outcome="success")
        assert index.refresh() == 1
        assert [r.outcome for r in index.outcomes_of(intent)] == ["success"]
        found = index.by_id(intent)
        assert found is not None and found.n == 0
        assert index.entry(1, 0)["id"] == intent
        with pytest.raises(InputMissingError):
            index.entry(1, 99)
        with pytest.raises(InputMissingError):
            index.entry(2, 0)


@pytest.mark.parametrize("damage", ["garbage", "empty", "old"])
def test_a_damaged_index_is_made_again(log: ShardLog, tmp_path: Path, damage: str) -> None:
    add(log, 300, user="a")
    open_index(tmp_path).close()
    path = tmp_path / INDEX
    path.write_bytes({"garbage": b"x" * 5000, "empty": b"", "old": path.read_bytes()}[damage])
    if damage == "old":
        import sqlite3

        db = sqlite3.connect(path)
        db.execute("PRAGMA user_version = 99")
        db.close()
    with open_index(tmp_path) as index:
        assert index.count(Filter(user="a")) == 300


def test_a_change_of_a_row_shows_even_without_the_seal(log: ShardLog, tmp_path: Path) -> None:
    import sqlite3

    add(log, 300, user="a")
    assert check_index(tmp_path)["state"] == "absent"
    open_index(tmp_path).close()
    assert check_index(tmp_path) == {"state": "ok", "rows": 300, "rebuildable": True}
    db = sqlite3.connect(tmp_path / INDEX)
    db.execute("UPDATE names SET value = 'b' WHERE value = 'a'")
    db.commit()
    db.close()
    assert check_index(tmp_path)["state"] == "damaged"
    (tmp_path / f"{INDEX}.sha256").unlink()
    assert check_index(tmp_path)["what"] == "a row says what the log does not"


def test_an_older_log_put_back_makes_a_new_index(log: ShardLog, tmp_path: Path) -> None:
    add(log, 10, user="a")
    older = (log.folder / "checkpoint").read_bytes()
    add(log, 10, user="b")
    open_index(tmp_path).close()
    (log.folder / "checkpoint").write_bytes(older)
    with open_index(tmp_path) as index:
        assert index.count(Filter()) == 10
        assert index.count(Filter(user="b")) == 0
