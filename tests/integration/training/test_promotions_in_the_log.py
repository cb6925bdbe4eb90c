"""Promotions through the real audit log: its writer, its tiles, its signed checkpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from appliance.audit.client import connect
from appliance.audit.layout import shards
from appliance.audit.recorder import Recorder, open_recorder
from appliance.core.errors import ApplianceError, StateDamagedError
from appliance.core.home import Home
from appliance.registry.promotionlog import AuditPromotionLog
from appliance.registry.promotions import Approval, Promotions, Verdict, promote, rollback
from appliance.registry.store import ModelStore


@pytest.fixture
def recorder(home: Home) -> Iterator[Recorder]:
    with open_recorder(home, "registry") as found:
        yield found
    _stop_writer(home)


def _stop_writer(home: Home) -> None:
    from appliance.audit import wire

    try:
        sink = connect(home, start=False)
    except ApplianceError:
        return
    try:
        sink.ask(wire.STOP)
    except ApplianceError:
        pass
    finally:
        sink.close()


def _model(store: ModelStore, name: str) -> str:
    with store.staging() as staging:
        (staging / "files").mkdir()
        (staging / "files" / "model.gguf").write_bytes(name.encode())
        return store.add("gguf", staging / "files", name=name, licence="mit", source="t").hash


def test_the_log_alone_says_what_is_served(home: Home, recorder: Recorder) -> None:
    store, promotions = ModelStore(home), Promotions(AuditPromotionLog(home))
    assert promotions.current() is None
    one, two = _model(store, "one"), _model(store, "two")
    for content in (one, two):
        promote(store, content, Verdict("e" * 64, content, passed=True), recorder, Approval())
    found = promotions.current()
    assert found is not None
    assert (found.hash, found.evaluation, found.how) == (two, "e" * 64, "promote")
    assert rollback(store, promotions, recorder, Approval()) == one
    assert [p.hash for p in promotions.history()] == [one, two, one]


def test_an_entry_appended_by_hand_promotes_nothing(home: Home, recorder: Recorder) -> None:
    content = _model(ModelStore(home), "forged")
    recorder.event("models.promote", object_id=content, outcome="success")
    recorder.intent("models.promote", object_id=content)
    assert Promotions(AuditPromotionLog(home)).current() is None


def test_a_promotion_edited_in_a_tile_is_not_believed(home: Home, recorder: Recorder) -> None:
    store, promotions = ModelStore(home), Promotions(AuditPromotionLog(home))
    one, two = _model(store, "one"), _model(store, "two")
    promote(store, one, Verdict("e" * 64, one, passed=True), recorder, Approval())
    assert promotions.current() is not None
    _stop_writer(home)
    changed = 0
    for path in (shards(home.audit)[0].folder / "tile" / "entries").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            path.write_bytes(data.replace(one.encode(), two.encode()))
            changed += data.count(one.encode())
    assert changed
    with pytest.raises(StateDamagedError):
        Promotions(AuditPromotionLog(home)).current()
