"""Evidence: the period that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.evidence import Limits, Part, Question, build
from appliance.audit.evidence_zip import members_of
from appliance.audit.witness import WitnessBook
from appliance.core.errors.audit import AuditEvidenceError
from tests.unit.audit.evidence.evidence_case import (
    ANA,
    Members,
    edit,
    made,
    reason,
    unpack,
    verify,
)


def test_a_period_without_accesses_is_shown_empty(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    question = Question("2026-03-01T02:00:10.000000Z", "2026-03-01T02:00:20.000000Z")
    code, answer = verify(unpack(members_of(made(log, book, question)), tmp_path))
    assert code == 0 and ["range", 119, 121] in answer["findings"]


def test_from_the_beginning_and_to_the_end_of_the_log(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    code, answer = verify(unpack(members_of(made(log, book, Question())), tmp_path))
    assert code == 0 and ["range", 0, 599] in answer["findings"]


def test_an_end_that_cannot_be_shown_is_refused(log: Any, book: WitnessBook) -> None:
    with pytest.raises(AuditEvidenceError, match="after the period"):
        made(log, book, Question("2026-03-01T02:00:00.000000Z", "2026-03-09T00:00:00.000000Z"))
    with pytest.raises(AuditEvidenceError, match="starts before its end"):
        made(log, book, Question(ANA.until, ANA.since))
    with pytest.raises(AuditEvidenceError, match="at most"):
        build([Part(log.shard)], ANA, Limits(10, 5), book)


@pytest.mark.parametrize("moment", ["2026-03-01T02:00:00Z", "2026-03-01", "yesterday"])
def test_a_time_in_another_spelling_is_refused(
    tmp_path: Path, log: Any, book: WitnessBook, moment: str
) -> None:
    """Times are compared as text, so they must have one spelling."""
    with pytest.raises(ValueError, match="RFC 3339"):
        Question(moment, None)

    def change(members: Members) -> None:
        edit(members, "manifest.json", lambda m: {**m, "question": {**m["question"], "to": moment}})

    assert reason(tmp_path, made(log, book), change) == "bad-file"


def test_an_access_under_a_clock_set_back_is_listed_by_its_place_in_the_log(
    tmp_path: Path, make_log: Callable[..., Any], book: WitnessBook
) -> None:
    """Set the clock back, look at the record, set it forward: the order of the log still tells."""
    log = make_log()
    log.opened(0)
    for minute in range(1, 400):
        log.add(minute, user="doctor-1", patient="p1-bia")
        if minute == 200:
            log.add(5, user="intruder", patient="p1-ana")
    log.write()
    folder = unpack(members_of(made(log, book)), tmp_path)
    code, answer = verify(folder)
    assert code == 0 and ["clock", 201] in answer["findings"]
    assert b"intruder" in (folder / "accesses.ndjson").read_bytes()
