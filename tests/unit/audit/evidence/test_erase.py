"""Pseudonyms, sealed details, and forgetting them while every proof still verifies."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit import proof, pseudonym, tiles
from appliance.audit.erase import Subjects, subject_id
from appliance.audit.event import make_event, monotonic_counter, new_id
from appliance.audit.evidence import Limits, Part, Question, build
from appliance.audit.evidence_zip import members_of
from appliance.audit.memory import MemoryRecorder
from appliance.audit.witness import WitnessBook
from appliance.core.errors import AuditUnavailableError, InputMissingError, StateDamagedError
from appliance.core.errors.audit import AuditEntryUnavailableError, AuditSubjectErasedError
from appliance.core.home import Home


def test_a_patient_has_one_pseudonym_however_the_number_is_written(home: Home) -> None:
    names = pseudonym.Pseudonyms(home)
    assert names.pseudonym("123.456-7") == names.pseudonym(" 1234567 ")
    assert names.pseudonym("1234567") != names.pseudonym("01234567")
    assert pseudonym.is_pseudonym(names.pseudonym("AB-1"))
    assert names.pseudonym("AB-1") == names.pseudonym("ab1")
    with pytest.raises(ValueError, match="letters or digits"):
        names.pseudonym(" .- ")


@given(st.binary(min_size=32, max_size=32), st.from_regex(r"[0-9]{6,15}", fullmatch=True))
def test_a_pseudonym_fits_an_event_and_holds_no_digit_run_of_the_number(
    key: bytes, number: str
) -> None:
    name = pseudonym.tag(key, 1, number)
    assert number not in name
    event = make_event(
        id=new_id(),
        time="2026-03-01T00:00:00.000000Z",
        counter=monotonic_counter(),
        phase="event",
        action="data.read",
        type="110110",
        crude="R",
        component="test",
        patient=name,
    )
    assert event.patient == name


def test_other_homes_and_other_keys_give_other_pseudonyms(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other").prepare()
    first = pseudonym.Pseudonyms(home).pseudonym("1234567")
    assert first != pseudonym.Pseudonyms(other).pseudonym("1234567")


def test_after_a_rotation_older_entries_are_still_found(home: Home) -> None:
    names = pseudonym.Pseudonyms(home)
    old = names.pseudonym("1234567")
    assert names.rotate() == 2
    new = names.pseudonym("1234567")
    assert new.startswith("p2-") and new != old
    assert names.candidates("1234567") == [old, new]
    assert all(path.stat().st_mode & 0o077 == 0 for path in names.versions().values())


def test_a_damaged_pseudonym_key_is_an_error(home: Home) -> None:
    names = pseudonym.Pseudonyms(home)
    names.pseudonym("1234567")
    names.versions()[1].write_bytes(b"short")
    with pytest.raises(StateDamagedError):
        names.pseudonym("1234567")


def test_a_sealed_detail_opens_for_its_subject_only(home: Home) -> None:
    subjects = Subjects(home)
    sealed = subjects.seal("p1-ana", {"reason": "asked by the family"})
    assert subjects.open(sealed) == {"reason": "asked by the family"}
    assert "family" not in sealed and "ana" not in sealed
    assert subjects.seal("p1-ana", {}) != subjects.seal("p1-ana", {})
    subjects.seal("p1-bia", {})
    moved = sealed.replace(subject_id("p1-ana"), subject_id("p1-bia"))
    for wrong in (moved, sealed[:-4] + "AAA=", "s1:x", sealed.replace("s1", "s2")):
        with pytest.raises(AuditEntryUnavailableError):
            subjects.open(wrong)


def test_two_who_make_the_first_key_at_one_time_share_it(home: Home) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: pseudonym.Pseudonyms(home).pseudonym("1234567"), range(16)))
        sealed = list(pool.map(lambda i: Subjects(home).seal("p1-ana", {"i": i}), range(16)))
    assert len(names) == 1
    assert [Subjects(home).open(s)["i"] for s in sealed] == list(range(16))
    assert len(list((home.keys / "subjects").rglob("*"))) == 2


def test_a_sealed_detail_fits_an_event(home: Home) -> None:
    sealed = Subjects(home).seal("p1-ana", {"note": "x" * 1000})
    recorder = MemoryRecorder()
    recorder.event("data.read", patient="p1-ana", sealed=sealed)
    assert recorder.events[0].sealed == sealed


def test_erasing_destroys_the_key_and_leaves_a_tombstone_in_the_log(home: Home) -> None:
    subjects, recorder = Subjects(home), MemoryRecorder()
    sealed = subjects.seal("p1-ana", {"reason": "asked"})
    done = subjects.erase("p1-ana", recorder)
    assert [(e.action, e.phase, e.outcome) for e in recorder.events] == [
        ("audit.erase", "intent", None),
        ("audit.erase", "outcome", "success"),
    ]
    assert recorder.events[0].detail == {"subject": done.subject, "generation": 1}
    assert not list(home.keys.rglob("*.key"))
    with pytest.raises(AuditSubjectErasedError):
        subjects.open(sealed)
    with pytest.raises(InputMissingError):
        subjects.erase("p1-ana", recorder)


def test_a_patient_who_comes_back_gets_a_new_key_and_the_old_detail_stays_closed(
    home: Home,
) -> None:
    subjects, recorder = Subjects(home), MemoryRecorder()
    old = subjects.seal("p1-ana", {"reason": "old"})
    subjects.erase("p1-ana", recorder)
    new = subjects.seal("p1-ana", {"reason": "new"})
    assert subjects.open(new) == {"reason": "new"}
    with pytest.raises(AuditSubjectErasedError):
        subjects.open(old)
    assert subjects.erase("p1-ana", recorder).generation == 2


def test_nothing_is_erased_when_the_log_cannot_record_it(home: Home) -> None:
    subjects, recorder = Subjects(home), MemoryRecorder()
    sealed = subjects.seal("p1-ana", {"reason": "kept"})
    recorder.break_log()
    with pytest.raises(AuditUnavailableError):
        subjects.erase("p1-ana", recorder)
    assert subjects.open(sealed) == {"reason": "kept"}


def test_a_crash_between_tombstone_and_destruction_is_finished_by_the_next_run(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    subjects, recorder = Subjects(home), MemoryRecorder()
    sealed = subjects.seal("p1-ana", {"reason": "kept"})

    def crash(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("appliance.audit.erase.destroy", crash)
        with pytest.raises(KeyboardInterrupt):
            subjects.erase("p1-ana", recorder)
    with pytest.raises(AuditSubjectErasedError):
        subjects.open(sealed)
    subjects.erase("p1-ana", recorder)
    assert not list(home.keys.rglob("*.key"))


def test_every_proof_still_verifies_after_an_erasure(
    home: Home, tmp_path: Path, make_log: Callable[..., Any], book: WitnessBook
) -> None:
    subjects, log = Subjects(home), make_log()
    log.opened(0)
    for minute in range(1, 300):
        sealed = subjects.seal("p1-ana", {"minute": minute}) if minute % 50 == 0 else None
        log.add(minute, patient="p1-ana", **({"sealed": sealed} if sealed else {}))
    log.write()
    hashes = tiles.TileHashes(300, tiles.folder_tiles(log.folder))
    before = proof.make_proof(50, 300, hashes, log.checkpoint().encode())
    subjects.erase("p1-ana", MemoryRecorder())
    entry = tiles.read_bundle(log.folder, 0, 51)[50]
    assert b'"sealed":"s1:' in entry
    assert proof.verify_proof(before, entry, log.key).ok
    members = members_of(build([Part(log.shard)], Question(), Limits(1000, 1000), book))
    for name, data in members:
        (tmp_path / "e" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "e" / name).write_bytes(data)
    command = [sys.executable, "-I", "-S", str(tmp_path / "e" / "verify.py")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
