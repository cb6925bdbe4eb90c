"""Evidence is verified by the program it carries, run as an outsider would: python3 -I -S.

Each way to tamper with it is a test's name.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.audit import note, proof, tiles
from appliance.audit.evidence import Part, Question, build, entry_time
from appliance.audit.evidence_zip import members_of, write_zip
from appliance.audit.witness import WitnessBook
from appliance.core.errors.audit import AuditEntryUnavailableError
from tests.unit.audit.evidence.evidence_case import (
    ANA,
    LIMITS,
    Members,
    edit,
    made,
    reason,
    unpack,
    unpack_entries,
    verify,
)


def test_all_accesses_to_a_patient_are_listed_and_shown_to_be_all(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    log.cosign(book, 1_772_400_000)
    evidence = made(log, book)
    code, answer = verify(unpack(members_of(evidence), tmp_path))
    assert (code, answer["reason"]) == (0, [])
    listed = (tmp_path / "accesses.ndjson").read_bytes().splitlines()
    assert listed == [log.entries[m] for m in range(120, 301) if m % 5 == 0]
    found = [f[0] for f in answer["findings"]]
    assert found == ["log", "seen", "range", "proofs", "borders", "list", "key"]
    assert ["range", 119, 301] in answer["findings"]
    assert evidence.summary == {
        "matches": 37,
        "entries": 183,
        "witnesses": 1,
        "kind": "complete",
        "parts": 1,
    }


def test_the_keys_an_officer_keeps_are_asked_for(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    log.cosign(book, 1_772_400_000)
    witness = book.policy().witnesses[0].vkey
    folder = unpack(members_of(made(log, book)), tmp_path)
    assert verify(folder, "--key", log.key.vkey, "--witness", witness)[0] == 0
    stranger = note.Verifier(log.key.name, note.SeedSigner(b"s" * 32).public_key)
    assert verify(folder, "--key", stranger.vkey)[1]["reason"] == ["bad-key"]
    other = note.Verifier("other.example/w", stranger.public_key, note.COSIGNATURE)
    code, answer = verify(folder, "--key", log.key.vkey, "--witness", other.vkey)
    assert (code, answer["reason"][0]) == (1, "few-witnesses")


def test_a_zip_is_verified_as_it_is_and_by_a_verifier_from_elsewhere(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    evidence = made(log, book)
    target = tmp_path / "out" / "evidence.zip"
    digest = write_zip(target, members_of(evidence))
    assert write_zip(tmp_path / "again.zip", members_of(evidence)) == digest
    with zipfile.ZipFile(target) as archive:
        (tmp_path / "verify.py").write_bytes(archive.read("verify.py"))
    assert verify(tmp_path, str(target))[0] == 0
    target.write_bytes(target.read_bytes()[:-100])
    assert verify(tmp_path, str(target))[0] == 1


@pytest.mark.parametrize("language", ["pt", "en"])
def test_people_read_words(tmp_path: Path, log: Any, book: WitnessBook, language: str) -> None:
    folder = unpack(members_of(made(log, book)), tmp_path)
    command = [sys.executable, "-I", "-S", str(folder / "verify.py"), "--lang", language]
    csv_file = tmp_path / "list.csv"
    done = subprocess.run(
        [*command, "--csv", str(csv_file)], capture_output=True, encoding="utf-8", check=False
    )
    words = {"pt": "RESULTADO: VÁLIDO", "en": "RESULT: VALID"}
    assert done.returncode == 0 and words[language] in done.stdout
    assert len(csv_file.read_text("utf-8-sig").splitlines()) == 38
    (folder / "accesses.ndjson").write_bytes(b"")
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    words = {"pt": "RESULTADO: INVÁLIDO", "en": "RESULT: NOT VALID"}
    assert done.returncode == 1 and words[language] in done.stdout


def test_an_entry_edited(tmp_path: Path, log: Any, book: WitnessBook) -> None:
    def change(members: Members) -> None:
        data = members["part-0001/entries.bin"]
        members["part-0001/entries.bin"] = data.replace(b"doctor-1", b"doctor-2", 1)

    assert reason(tmp_path, made(log, book), change) == "bad-root"


def test_an_entry_left_out(tmp_path: Path, log: Any, book: WitnessBook) -> None:
    def change(members: Members) -> None:
        entries = unpack_entries(members["part-0001/entries.bin"])
        del entries[3]
        members["part-0001/entries.bin"] = tiles.pack_bundle(entries)

    assert reason(tmp_path, made(log, book), change) == "bad-root"


def test_an_access_left_out_of_the_list(tmp_path: Path, log: Any, book: WitnessBook) -> None:
    def change(members: Members) -> None:
        lines = members["accesses.ndjson"].splitlines(keepends=True)
        members["accesses.ndjson"] = b"".join(lines[1:])
        edit(members, "manifest.json", lambda m: {**m, "matches": m["matches"] - 1})

    assert reason(tmp_path, made(log, book), change) == "bad-list"


def test_the_range_narrowed_at_its_end(tmp_path: Path, log: Any, book: WitnessBook) -> None:
    def change(members: Members) -> None:
        narrow(members, log, 119, 290)

    assert reason(tmp_path, made(log, book), change) == "bad-end"


def test_the_range_narrowed_at_its_start(tmp_path: Path, log: Any, book: WitnessBook) -> None:
    def change(members: Members) -> None:
        narrow(members, log, 130, 302)

    assert reason(tmp_path, made(log, book), change) == "bad-start"


def narrow(members: Members, log: Any, lo: int, hi: int) -> None:
    """Make evidence as a liar with the true log would: everything consistent but the borders."""
    hashes = tiles.TileHashes(600, tiles.folder_tiles(log.folder))
    entries = log.entries[lo:hi]
    answers = [e for e in entries if ANA.covers(entry_time(e)) and ANA.asks_for(e)]
    indices = [json.loads(e)["written"]["n"] for e in answers][:5]
    members["part-0001/entries.bin"] = tiles.pack_bundle(entries)
    outside = [note.b64encode(h) for h in proof.range_proof(lo, hi, 600, hashes)]
    edit(members, "part-0001/proof.json", lambda p: {**p, "hashes": outside})
    members["accesses.ndjson"] = b"".join(e + b"\n" for e in answers)
    checkpoint = members["part-0001/checkpoint"]
    for index in indices:
        name = f"part-0001/proofs/{index}.tlog-proof"
        members[name] = proof.make_proof(index, 600, hashes, checkpoint).encode()
    part = {"folder": "part-0001", "lo": lo, "hi": hi, "proofs": indices}
    edit(
        members,
        "manifest.json",
        lambda m: {**m, "parts": [part], "matches": len(answers)},
    )


def test_the_question_narrowed_is_shown_as_it_is(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    def change(members: Members) -> None:
        edit(
            members,
            "manifest.json",
            lambda m: {**m, "question": {**m["question"], "to": "2026-03-01T04:00:00.000000Z"}},
        )

    assert reason(tmp_path, made(log, book), change) == "bad-list"


def test_a_foreign_key_signs_another_history(tmp_path: Path, log: Any, book: WitnessBook) -> None:
    """Re-signed by a stranger: refused under the policy inside, and under the officer's key."""
    stranger = note.SeedSigner(b"s" * 32)
    evidence = made(log, book)

    def resign(members: Members) -> None:
        text = note.Note.parse(members["part-0001/checkpoint"]).text
        signed = note.Note(text, (note.sign(text, log.key.name, stranger),))
        members["part-0001/checkpoint"] = signed.encode()

    assert reason(tmp_path, evidence, resign) == "bad-signature"
    members = dict(members_of(evidence))
    resign(members)
    key = note.Verifier(log.key.name, stranger.public_key)
    logs = [{"origin": key.name, "vkey": key.vkey}]
    edit(members, "policy.json", lambda p: {**p, "logs": logs})
    folder = unpack(list(members.items()), tmp_path / "foreign")
    assert verify(folder, "--key", log.key.vkey)[1]["reason"] == ["bad-key"]


def test_a_cosignature_taken_off(tmp_path: Path, log: Any, book: WitnessBook) -> None:
    log.cosign(book, 1_772_400_000)

    def change(members: Members) -> None:
        members["part-0001/checkpoint"] = log.checkpoint().encode()

    assert reason(tmp_path, made(log, book), change) == "few-witnesses"


def test_a_single_proof_moved_to_another_entry(tmp_path: Path, log: Any, book: WitnessBook) -> None:
    def change(members: Members) -> None:
        members["part-0001/proofs/120.tlog-proof"] = members["part-0001/proofs/125.tlog-proof"]

    assert reason(tmp_path, made(log, book), change) == "bad-proof"


@pytest.mark.parametrize(
    "name", ["manifest.json", "policy.json", "accesses.ndjson", "part-0001/entries.bin"]
)
def test_a_file_taken_away(tmp_path: Path, log: Any, book: WitnessBook, name: str) -> None:
    def change(members: Members) -> None:
        del members[name]

    assert reason(tmp_path, made(log, book), change) == "no-file"


def test_an_entry_that_claims_another_place(
    tmp_path: Path, make_log: Callable[..., Any], book: WitnessBook
) -> None:
    """A writer that lies about its order is caught even though the tree is consistent."""
    log = make_log()
    log.opened(0)
    for minute in range(1, 400):
        log.add(minute, patient="p1-ana")
    log.entries[150] = log.entries[150].replace(b'"n":150', b'"n":151')
    log.write()
    code, answer = verify(unpack(members_of(made(log, book)), tmp_path))
    assert (code, answer["reason"]) == (1, ["bad-index", 150])


def test_inclusion_only_evidence_says_what_it_does_not_show(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    folder = unpack(members_of(made(log, book, kind="inclusion")), tmp_path)
    code, answer = verify(folder)
    assert code == 0 and ["partial"] in answer["findings"]
    assert not list(folder.glob("part-*/entries.bin"))
    path = folder / "part-0001/entries/120.json"
    path.write_bytes(path.read_bytes().replace(b"success", b"refused"))
    assert verify(folder)[1]["reason"] == ["bad-proof", 120]


def test_a_period_over_two_logs_is_chained(
    tmp_path: Path, make_log: Callable[..., Any], book: WitnessBook
) -> None:
    first, second = make_log(1, b"1" * 32), make_log(2, b"2" * 32)
    first.opened(0)
    for minute in range(1, 300):
        first.add(minute, patient="p1-ana")
    first.closed(299, second)
    second.opened(300, first)
    for minute in range(301, 500):
        second.add(minute, patient="p1-ana")
    parts = [Part(first.write()), Part(second.write())]
    question = Question(
        "2026-03-01T04:30:00.000000Z", "2026-03-01T06:00:00.000000Z", {"patient": ["p1-ana"]}
    )
    evidence = build(parts, question, LIMITS, book)
    folder = unpack(members_of(evidence), tmp_path / "good")
    code, answer = verify(folder)
    assert code == 0 and ["chain"] in answer["findings"]
    assert evidence.summary["matches"] == 90
    # Another first log of the same size, under its own key, does not fit the chain.
    forged = make_log(1, b"1" * 32)
    forged.opened(0)
    for minute in range(1, 300):
        forged.add(minute, patient="p1-bia")
    forged.closed(299, second)
    parts = [Part(forged.write()), Part(second.shard)]
    folder = unpack(members_of(build(parts, question, LIMITS, book)), tmp_path / "forged")
    assert verify(folder)[1]["reason"] == ["bad-chain"]


def test_a_second_log_under_a_key_that_the_first_did_not_name_is_refused(
    tmp_path: Path, make_log: Callable[..., Any], book: WitnessBook
) -> None:
    first, second, other = make_log(1, b"1" * 32), make_log(2, b"2" * 32), make_log(2, b"3" * 32)
    first.opened(0)
    for minute in range(1, 300):
        first.add(minute, patient="p1-ana")
    first.closed(299, other)
    second.opened(300, first)
    for minute in range(301, 400):
        second.add(minute, patient="p1-ana")
    parts = [Part(first.write()), Part(second.write())]
    question = Question("2026-03-01T04:30:00.000000Z", None, {"patient": ["p1-ana"]})
    folder = unpack(members_of(build(parts, question, LIMITS, book)), tmp_path / "other")
    assert verify(folder)[1]["reason"] == ["bad-chain"]


def test_emergency_accesses_of_a_day(
    tmp_path: Path, make_log: Callable[..., Any], book: WitnessBook
) -> None:
    log = make_log()
    log.opened(0)
    for minute in range(1, 400):
        more = {"break_glass": True, "justification": "arrest"} if minute in {150, 200} else {}
        log.add(minute, patient="p1-ana", **more)
    log.write()
    question = Question(ANA.since, ANA.until, {"break_glass": [True]})
    folder = unpack(members_of(made(log, book, question)), tmp_path)
    assert verify(folder)[0] == 0
    listed = (folder / "accesses.ndjson").read_bytes().splitlines()
    assert listed == [log.entries[150], log.entries[200]]


def test_a_missing_bundle_is_an_error(log: Any, book: WitnessBook) -> None:
    (log.folder / tiles.entries_path(1)).unlink()
    with pytest.raises(AuditEntryUnavailableError):
        made(log, book)


def test_an_older_witnessed_state_is_used_when_it_covers_the_range(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    log.cosign(book, 1_772_400_000, size=400)
    code, answer = verify(unpack(members_of(made(log, book)), tmp_path))
    assert code == 0 and ["log", log.key.name, 400] in answer["findings"]
