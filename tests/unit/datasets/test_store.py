from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors import (
    AuditUnavailableError,
    DatasetDamagedError,
    DatasetMissingError,
    SplitImpossibleError,
)
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.format import export
from appliance.datasets.prompt import (
    CHAT_TEMPLATE,
    PROMPT_TEMPLATE_HASH,
    SYSTEM_PROMPT,
    prompt_messages,
)
from appliance.datasets.record import Record, RecordInvalidError
from appliance.datasets.service import check, deidentify, import_files, scan_files, split
from appliance.datasets.store import MANIFEST, RECORDS, DatasetStore

SETTINGS = Settings()
CPF = "529.982.247-25"


def pairs(folder: Path, count: int = 12) -> Path:
    path = folder / "pairs.jsonl"
    rows = [
        {
            "question": f"Pergunta {i} {'xyzwk'[i % 5] * (i + 3)}?",
            "forbidden": f"Não, CPF {CPF}.",
            "safe": "Procure a UBS.",
            "category": "ab"[i % 2],
        }
        for i in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_importing_the_same_again_is_a_no_op(home: Home, tmp_path: Path) -> None:
    recorder = MemoryRecorder()
    first = import_files(home, SETTINGS, [pairs(tmp_path)], recorder)
    before = (first.path / MANIFEST).stat().st_mtime_ns
    again = import_files(home, SETTINGS, [pairs(tmp_path)], recorder)
    assert again == first
    assert (first.path / MANIFEST).stat().st_mtime_ns == before
    assert len(DatasetStore(home).list()) == 1
    assert not list(home.records.glob(".tmp-*"))
    assert [(e.phase, e.outcome) for e in recorder.events] == [
        ("intent", None),
        ("outcome", "success"),
    ] * 2


def test_the_chain_from_import_to_split_is_hashes_and_holds_no_identifier(
    home: Home, tmp_path: Path
) -> None:
    recorder = MemoryRecorder()
    imported = import_files(home, SETTINGS, [pairs(tmp_path)], recorder)
    cleaned = deidentify(home, SETTINGS, imported.hash, recorder)
    divided = split(home, SETTINGS, cleaned.hash, recorder)
    store = DatasetStore(home)
    assert store.open(divided.hash).manifest.parent == cleaned.hash
    assert store.open(cleaned.hash).manifest.parent == imported.hash
    assert cleaned.entities == {"BR_CPF": 12}
    assert CPF not in (divided.path / RECORDS).read_text()
    assert CPF not in json.dumps([vars(e) for e in recorder.events], default=str)
    sides = {(r.category, r.split) for r in store.open(divided.hash).iter_records()}
    assert sides == {(c, s) for c in "ab" for s in ("train", "validation", "test")}
    assert deidentify(home, SETTINGS, imported.hash, recorder).hash == cleaned.hash
    assert split(home, SETTINGS, cleaned.hash, recorder).hash == divided.hash


def test_what_was_imported_is_not_split_before_it_is_cleaned(home: Home, tmp_path: Path) -> None:
    imported = import_files(home, SETTINGS, [pairs(tmp_path)], MemoryRecorder())
    with pytest.raises(SplitImpossibleError, match="deid apply"):
        split(home, SETTINGS, imported.hash, MemoryRecorder())


def test_without_a_log_nothing_is_imported(home: Home, tmp_path: Path) -> None:
    recorder = MemoryRecorder()
    recorder.break_log()
    with pytest.raises(AuditUnavailableError):
        import_files(home, SETTINGS, [pairs(tmp_path)], recorder)
    assert DatasetStore(home).list() == ()


def test_a_changed_record_is_noticed(home: Home, tmp_path: Path) -> None:
    imported = import_files(home, SETTINGS, [pairs(tmp_path)], MemoryRecorder())
    path = imported.path / RECORDS
    path.write_bytes(path.read_bytes().replace(b"UBS", b"UPA", 1))
    with pytest.raises(DatasetDamagedError):
        deidentify(home, SETTINGS, imported.hash, MemoryRecorder())


def test_a_changed_manifest_is_noticed(home: Home, tmp_path: Path) -> None:
    imported = import_files(home, SETTINGS, [pairs(tmp_path)], MemoryRecorder())
    path = imported.path / MANIFEST
    value = json.loads(path.read_text())
    path.write_text(json.dumps({**value, "parent": "0" * 64}))
    with pytest.raises(DatasetDamagedError):
        DatasetStore(home).open(imported.hash)


@pytest.mark.parametrize("wanted", ["", "0" * 64, "../../etc", "12345678"])
def test_an_unknown_hash_is_an_error(home: Home, tmp_path: Path, wanted: str) -> None:
    import_files(home, SETTINGS, [pairs(tmp_path)], MemoryRecorder())
    with pytest.raises(DatasetMissingError):
        DatasetStore(home).open(wanted)


def test_only_the_owner_reads_what_was_imported(home: Home, tmp_path: Path) -> None:
    import_files(home, SETTINGS, [pairs(tmp_path)], MemoryRecorder())
    assert home.records.stat().st_mode & 0o077 == 0


def test_ids_of_notes_and_patients_become_pseudonyms(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    rows = [
        {"id": "MARIA-LIMA", "text": "Evolução: estável.", "patient": "MARIA LIMA"},
        {"id": "2", "text": "Evolução: melhor.", "patient": "MARIA LIMA"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    imported = import_files(home, SETTINGS, [path], MemoryRecorder())
    cleaned = deidentify(home, SETTINGS, imported.hash, MemoryRecorder())
    records = list(DatasetStore(home).open(cleaned.hash).iter_records())
    assert "MARIA" not in (cleaned.path / RECORDS).read_text()
    assert len({r.group for r in records}) == 1
    assert len({r.id for r in records}) == 2


def test_a_patients_name_is_found_in_that_patients_notes(home: Home, tmp_path: Path) -> None:
    import base64

    def note(identifier: str, patient: str) -> dict[str, object]:
        data = base64.b64encode(b"Zulmira refere dor.").decode()
        return {
            "resourceType": "DocumentReference",
            "id": identifier,
            "subject": {"reference": patient},
            "content": [{"attachment": {"contentType": "text/plain", "data": data}}],
        }

    patient = {"resourceType": "Patient", "id": "1", "name": [{"text": "Zulmira Prado"}]}
    path = tmp_path / "f.ndjson"
    rows = [note("a", "Patient/1"), patient, note("b", "Patient/2")]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    imported = import_files(home, SETTINGS, [path], MemoryRecorder())
    cleaned = deidentify(home, SETTINGS, imported.hash, MemoryRecorder())
    notes = [
        r.context
        for r in DatasetStore(home).open(cleaned.hash).iter_records()
        if r.category == "DocumentReference"
    ]
    assert "Zulmira" not in notes[0]
    assert "Zulmira" in notes[1]  # another patient: only a name model could know


def test_check_answers_no_while_identifiers_are_left(home: Home, tmp_path: Path) -> None:
    imported = import_files(home, SETTINGS, [pairs(tmp_path)], MemoryRecorder())
    report = check(home, SETTINGS, imported.hash)
    assert not report.ok
    assert {c.name: c.detail for c in report.checks}["identifiers"] == "BR_CPF 12"
    cleaned = deidentify(home, SETTINGS, imported.hash, MemoryRecorder())
    divided = split(home, SETTINGS, cleaned.hash, MemoryRecorder())
    report = check(home, SETTINGS, divided.hash)
    assert report.ok, report
    assert {"leakage", "held-out pairs"} <= {c.name for c in report.checks}


def test_scan_counts_and_writes_nothing(home: Home, tmp_path: Path) -> None:
    found = scan_files(SETTINGS, [pairs(tmp_path)])
    assert (found.records, found.with_identifiers, found.entities) == (12, 12, {"BR_CPF": 12})
    assert not home.records.exists()


def test_export_writes_the_trainers_files(home: Home, tmp_path: Path) -> None:
    recorder = MemoryRecorder()
    imported = import_files(home, SETTINGS, [pairs(tmp_path)], recorder)
    cleaned = deidentify(home, SETTINGS, imported.hash, recorder)
    divided = split(home, SETTINGS, cleaned.hash, recorder)
    made = export(DatasetStore(home).open(divided.hash), tmp_path / "out")
    again = export(DatasetStore(home).open(divided.hash), tmp_path / "again")
    assert made.hash == again.hash
    assert sum(n for f, n in made.rows.items() if f.startswith("preference")) == 12
    row = json.loads((tmp_path / "out" / "preference.train.jsonl").read_text().splitlines()[0])
    assert row["prompt"][0] == {"role": "system", "content": SYSTEM_PROMPT}
    assert row["chosen"] == [{"role": "assistant", "content": "Procure a UBS."}]
    described = json.loads((tmp_path / "out" / "export.json").read_text())
    assert described["prompt_template"] == PROMPT_TEMPLATE_HASH
    corpus = (tmp_path / "out" / "corpus.train.jsonl").read_text()
    assert "CPF" not in corpus  # a forbidden answer is never learnt as text


def test_the_house_prompt_replaces_another_system_prompt() -> None:
    messages = prompt_messages("Q", "C", [("system", "other"), ("user", "u"), ("assistant", "a")])
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"] == SYSTEM_PROMPT
    assert messages[-1]["content"] == "Contexto:\nC\n\nPergunta:\nQ"


def test_the_toy_template_opens_the_answer_and_closes_a_finished_one() -> None:
    import jinja2

    messages = prompt_messages("Dói?")
    environment = jinja2.Environment(autoescape=False)  # noqa: S701 - plain text, not HTML
    template = environment.from_string(CHAT_TEMPLATE)
    opened = template.render(messages=messages, add_generation_prompt=True)
    assert opened == f"{SYSTEM_PROMPT}\n\n### Pergunta:\nDói?\n\n### Resposta:\n"
    whole = template.render(messages=[*messages, {"role": "assistant", "content": "Sim."}])
    assert whole == f"{opened}Sim.</s>"


@pytest.mark.parametrize(
    "value",
    [
        {"kind": "qa"},
        {"id": "1", "kind": "poem"},
        {"id": "1", "kind": "qa", "verse": "x"},
        {"id": "1", "kind": "qa", "options": "ab"},
        {"id": "1", "kind": "qa", "turns": [["user"]]},
        {"id": "1", "kind": "qa", "question": 3},
        {"id": "1", "kind": "qa", "split": "all"},
    ],
)
def test_a_record_of_another_form_is_refused(value: dict[str, object]) -> None:
    with pytest.raises(RecordInvalidError):
        Record.from_dict(value)
