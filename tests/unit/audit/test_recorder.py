from __future__ import annotations

from datetime import UTC, datetime

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.clock import FixedClock
from appliance.core.errors import AuditUnavailableError, InputMissingError


def recorder() -> MemoryRecorder:
    return MemoryRecorder("import", clock=FixedClock(datetime(2026, 1, 2, tzinfo=UTC)))


def test_an_action_is_an_intent_and_its_outcome() -> None:
    log = recorder()
    with log.action("data.import", object_id="set-1", patient="p1-x", detail={"a": 1}) as act:
        act.detail["records"] = 7
    intent, outcome = log.events
    assert (intent.phase, outcome.phase, outcome.outcome) == ("intent", "outcome", "success")
    assert outcome.intent == intent.id == act.id
    assert outcome.detail == {"a": 1, "records": 7}
    assert (outcome.object_id, outcome.patient, outcome.type) == ("set-1", "p1-x", intent.type)
    assert intent.time == "2026-01-02T00:00:00.000000Z"


def test_an_action_whose_intent_cannot_be_recorded_does_not_happen() -> None:
    log = recorder()
    log.break_log()
    happened = False
    with pytest.raises(AuditUnavailableError), log.action("data.import"):
        happened = True
    assert not happened


def test_an_error_becomes_the_outcome_by_its_id_only() -> None:
    log = recorder()
    with pytest.raises(InputMissingError), log.action("data.import"):
        raise InputMissingError(expected="a file", found="secret words")
    with pytest.raises(KeyError), log.action("data.import"):
        raise KeyError("secret words")
    assert [e.reason for e in log.events if e.phase == "outcome"] == ["input-missing", "KeyError"]
    assert b"secret" not in b"".join(log.sink.bodies)


def test_the_first_error_wins_when_the_log_breaks_during_an_action() -> None:
    log = recorder()
    with pytest.raises(InputMissingError), log.action("data.import"):
        log.break_log()
        raise InputMissingError(expected="a", found="b")
    assert [e.phase for e in log.events] == ["intent"]


def test_an_action_that_went_well_still_fails_when_its_outcome_cannot_be_recorded() -> None:
    log = recorder()
    with pytest.raises(AuditUnavailableError), log.action("data.import"):
        log.break_log()


def test_refusals_and_quiet_failures_have_outcomes_of_their_own() -> None:
    log = recorder()
    with log.action("models.promote") as act:
        act.refuse("gate not passed")
    with log.action("models.promote") as act:
        act.fail("engine did not start")
    outcomes = [(e.outcome, e.reason) for e in log.events if e.phase == "outcome"]
    assert outcomes == [("refused", "gate not passed"), ("failure", "engine did not start")]


def test_an_event_names_the_user_of_the_recorder_unless_told_otherwise() -> None:
    log = recorder()
    assert log.event("gateway.started").index == 0
    log.event("gateway.chat", user="nurse-1", break_glass=True, justification="no pulse")
    first, second = log.events
    assert (first.user, second.user, second.break_glass) == ("tester", "nurse-1", True)
