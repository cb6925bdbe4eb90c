"""The console's pages over a real log, without a browser."""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.index import Filter
from appliance.audit.note import COSIGNATURE, SeedSigner, Verifier
from appliance.audit.officer import book_of, let_sign
from appliance.console.app import create_app
from appliance.console.reading import reading

if TYPE_CHECKING:
    import zipfile

READ = ["/", "/?chart=hour", "/events", "/emergency", "/flags?show=all", "/samples", "/decisions"]


def first_event(html: str) -> str:
    found = re.search(r'href="(/events/\d+/\d+)"', html)
    assert found
    return found[1]


def item_of(path: str) -> str:
    return "e{}n{}".format(*path.split("/")[2:])


def key_in(html: str) -> str:
    found = re.search(r'name="review_key" value="(\d+)"', html)
    assert found
    return found[1]


def determine(visitor: Any, path: str, **fields: str) -> Any:
    form = {"determination": "appropriate", "comment": "", **fields}
    return visitor.post(f"/review/{item_of(path)}", page=path, **form)


def test_what_is_read_is_in_the_log_with_who_and_from_where(world: Any) -> None:
    visitor = world.client("auditora")
    path = first_event(visitor.get("/events?user=medico2&emergency=1").text)
    visitor.get(path)
    visitor.get(f"{path}/proof")
    viewed = world.said("console.view_events")[-1]
    assert (viewed["user"], viewed["role"], viewed["component"]) == (
        "auditora",
        "auditor",
        "console",
    )
    assert viewed["detail"]["by_user"] == "medico2"
    assert viewed["session"]
    assert world.said("console.view_event")[-1]["object_id"] == item_of(path)
    assert [e["phase"] for e in world.said("console.download")] == ["intent", "outcome"]
    assert world.said("console.login")[-1]["outcome"] == "success"


def test_a_patient_is_found_without_the_number_being_kept_anywhere(world: Any) -> None:
    visitor = world.client("auditora")
    answer = visitor.post("/events/patient", page="/events", record="pront 0042")
    assert world.patient in answer.text
    assert f"patient={world.patient}" in str(answer.url)
    rows = re.findall(r'href="/events/\d+/\d+"', answer.text)
    assert len(rows) >= 7
    for file in world.home.root.rglob("*"):
        if file.is_file():
            assert not re.search(rb"pront.?0042", file.read_bytes(), re.IGNORECASE), file.name
    assert world.said("console.find_patient")[-1]["patient"] == world.patient


@pytest.mark.parametrize(
    ("person", "paths"),
    [
        ("auditora", ["/evidence", "/users"]),
        ("revisora", ["/evidence", "/users"]),
        ("oficial", ["/users"]),
        ("admin1", [*READ, "/evidence", "/witness", "/events/1/0", "/events/1/0/proof"]),
    ],
)
def test_pages_that_a_role_may_not_open(world: Any, person: str, paths: list[str]) -> None:
    visitor = world.client(person)
    for path in paths:
        answer = visitor.get(path)
        assert answer.status_code == 403, path
    refused = world.said("console.forbidden")
    assert len(refused) >= len(paths)
    assert {e["outcome"] for e in refused} == {"refused"}


def test_forms_that_a_role_may_not_send(world: Any) -> None:
    forms = {
        "auditora": ["/review/e1n1", "/sign-off/e1n1", "/samples", "/evidence", "/users"],
        "revisora": ["/sign-off/e1n1", "/evidence", "/users", "/witness/request"],
        "oficial": ["/review/e1n1", "/users", "/users/admin1"],
    }
    for person, paths in forms.items():
        visitor = world.client(person)
        for path in paths:
            assert visitor.post(path, page="/").status_code in {400, 403}, (person, path)
    assert world.said("console.review") == []
    assert world.said("console.user_create") == []


def test_without_log_in_every_page_leads_to_the_log_in(world: Any) -> None:
    visitor = world.client()
    for path in [*READ, "/evidence", "/users", "/witness", "/events/1/0"]:
        answer = visitor.get(path)
        assert str(answer.url).endswith("/login"), path


def test_a_form_without_its_token_changes_nothing(world: Any) -> None:
    visitor = world.client("revisora")
    path = first_event(visitor.get("/emergency").text)
    for token in ("", "x" * 32, world.client("oficial").client.cookies.get("session") or "y"):
        form = {"csrf": token, "determination": "appropriate"}
        answer = visitor.client.post(f"/review/{item_of(path)}", data=form)
        assert answer.status_code in {400, 403}
    assert world.said("console.review") == []


def test_four_eyes_over_the_pages(world: Any) -> None:
    reviewer, officer = world.client("revisora"), world.client("oficial")
    path = first_event(reviewer.get("/emergency").text)
    assert determine(reviewer, path, determination="inappropriate").status_code == 400
    assert determine(reviewer, path, determination="inappropriate", comment="CPF 529.982.247-25")
    assert world.said("console.review") == []
    answer = determine(reviewer, path, determination="inappropriate", comment="Sem plantao")
    assert "Inadequado" in answer.text
    assert "Aguarda segunda assinatura" in answer.text
    assert "Sem plantao" in officer.get("/decisions").text
    key = key_in(officer.get(path).text)
    determine(reviewer, path)  # meanwhile the reviewer thought again
    late = officer.post(f"/sign-off/{item_of(path)}", page=path, decision="agree", review_key=key)
    assert late.status_code == 409
    key = key_in(officer.get(path).text)
    done = officer.post(f"/sign-off/{item_of(path)}", page=path, decision="agree", review_key=key)
    assert "Concluído" in done.text
    assert determine(reviewer, path).status_code == 409
    refused = [e for e in world.said("console.review") if e["outcome"] == "refused"]
    assert len(refused) == 1
    signed = world.said("console.sign_off")[-1]
    assert signed["detail"]["reviewer"] == "revisora"
    assert signed["detail"]["determination"] == "appropriate"


def test_nobody_reviews_what_she_did_herself(world: Any) -> None:
    with world.recorder.action("emergency.access", user="revisora", break_glass=True):
        pass
    let_sign(world.home)
    reviewer = world.client("revisora")
    path = first_event(reviewer.get("/emergency").text)
    assert "Isto diz respeito a você" in reviewer.get(path).text
    assert determine(reviewer, path).status_code == 409
    assert world.said("console.review")[-1]["outcome"] == "refused"


def test_reviews_survive_the_loss_of_the_index(world: Any) -> None:
    reviewer = world.client("revisora")
    path = first_event(reviewer.get("/emergency").text)
    determine(reviewer, path)
    with reading(world.home, world.console.settings.console) as log:
        before = log.states()
        log.index.rebuild()
        assert log.states() == before
        assert before[item_of(path)].state == "reviewed"


def test_a_flag_is_reviewed_like_an_entry(world: Any) -> None:
    reviewer, officer = world.client("revisora"), world.client("oficial")
    found = re.search(r'href="(/flags/([0-9-]+)/(f[0-9a-f]+))"', reviewer.get("/flags").text)
    assert found
    path, day, ident = found.groups()
    answer = reviewer.post(
        f"/review/{ident}", page=path, day=day, determination="follow_up", comment="Ver com chefia"
    )
    assert "Aguarda segunda assinatura" in answer.text
    key = key_in(officer.get(path).text)
    answer = officer.post(
        f"/sign-off/{ident}", page=path, day=day, decision="agree", review_key=key
    )
    assert "Em acompanhamento" in answer.text


def test_a_sample_is_drawn_again_from_the_log(world: Any) -> None:
    visitor = world.client("revisora")
    today = world.console.clock.now().astimezone(world.console.zone).date().isoformat()
    answer = visitor.post("/samples", page="/samples", first=today, last=today, size="4")
    assert "as mesmas entradas" in answer.text
    rows = re.findall(r'<a href="(/events/\d+/\d+)">\d\d/', answer.text)
    assert len(set(rows)) == 4
    intent, outcome = world.said("console.sample")
    assert intent["detail"]["seed"] == outcome["detail"]["seed"]
    assert "population" not in intent["detail"]  # the seed came first
    again = world.client("auditora").get(str(answer.url).replace("http://localhost", ""))
    assert re.findall(r'<a href="(/events/\d+/\d+)">\d\d/', again.text) == rows


def test_without_the_log_nothing_is_shown(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    visitor = world.client("auditora")

    def broken(*_: Any) -> Any:
        from appliance.core.errors import AuditUnavailableError

        raise AuditUnavailableError(expected="the log's writer", found="the test broke it")

    monkeypatch.setattr(type(world.console.sink), "append", broken)
    for path in READ:
        answer = visitor.get(path)
        assert answer.status_code == 503, path
        assert "medico1" not in answer.text


def test_filters_page_back_and_forth(world: Any) -> None:
    small = world.console.settings.console.model_copy(update={"page_rows": 5})
    world.console.settings = world.console.settings.model_copy(update={"console": small})
    visitor = world.client("auditora")
    first = visitor.get("/events?action=gateway.chat").text
    older = re.search(r'href="(/events\?[^"]*before=\d+)"', first)
    assert older
    second = visitor.get(older[1].replace("&amp;", "&")).text
    places = re.findall(r'href="(/events/\d+/\d+)"', first + second)
    assert len(set(places)) == 10
    newer = re.search(r'href="(/events\?[^"]*after=\d+)"', second)
    assert newer
    back = visitor.get(newer[1].replace("&amp;", "&")).text
    assert re.findall(r'href="(/events/\d+/\d+)"', back) == places[:5]


@pytest.mark.parametrize(
    "path",
    ["/events?from=yesterday", "/emergency?day=2026-99-99", "/events?user=529.982.247-25"],
)
def test_wrong_input_is_an_answer_in_words(world: Any, path: str) -> None:
    answer = world.client("auditora").get(path)
    assert answer.status_code in {400, 422}
    assert "Traceback" not in answer.text
    assert "529" not in answer.text


def test_a_changed_entry_is_not_proven(world: Any) -> None:
    visitor = world.client("auditora")
    path = first_event(visitor.get("/emergency").text)
    assert "Provado" in visitor.post(f"{path}/check", page=path).text
    changed = 0
    for file in world.home.audit.rglob("tile/entries/**/*"):
        if file.is_file():
            data = file.read_bytes()
            file.write_bytes(data.replace(b"medico2", b"medico9"))
            changed += b"medico2" in data
    assert changed
    with reading(world.home, world.console.settings.console) as log:
        proven = log.prove(*(int(part) for part in path.split("/")[2:]))
    assert b"medico9" in proven.entry
    assert not proven.verdict.ok
    assert proven.verdict.reason == "the entry and the proof do not lead to the root"


def test_the_witness_round_in_the_browser(world: Any, tmp_path: Any) -> None:
    import subprocess
    import sys

    from appliance.audit.standalone.assemble import assemble

    script = tmp_path / "testemunha.py"
    script.write_bytes(assemble("witness"))

    def device(*arguments: str) -> str:
        command = [sys.executable, "-I", "-S", str(script), "--folder", str(tmp_path / "w")]
        return subprocess.run(
            [*command, *arguments], check=True, capture_output=True, text=True, cwd=tmp_path
        ).stdout

    officer = world.client("oficial")
    vkey = re.search(r"oficial\S+", device("init", "--name", "oficial.hospital/w1"))
    assert vkey
    assert "aceita" in officer.post("/witness/trust", page="/witness", vkey=vkey[0]).text
    log_key = re.search(r'<p class="code wrap">([^<]+)</p>', officer.get("/witness").text)
    assert log_key
    device("trust", log_key[1])
    body = officer.post("/witness/request", page="/witness", form="file")
    (tmp_path / "pedido.txt").write_bytes(body.content)
    device("cosign", "pedido.txt", "-o", "resposta.txt")
    text = (tmp_path / "resposta.txt").read_text()
    assert "Em dia" in officer.post("/witness/answer", page="/witness", text=text).text
    assert world.said("console.witness_import")[-1]["outcome"] == "success"
    # After a key rotation the page says that the witness signed the part before.
    assert "parte anterior" not in officer.get("/witness").text
    world.console.sink.ask(wire.ROTATE)
    for path in ("/", "/witness"):
        page = officer.get(path).text
        assert "Em dia" in page
        assert "parte anterior do registro (hospital-appliance/audit/0001)" in page


def test_the_witness_metric_is_for_this_machine_only(world: Any) -> None:
    app = create_app(world.console)
    here = TestClient(app, base_url="http://localhost", client=("127.0.0.1", 50000))
    assert here.get("/metrics").status_code == 200
    signer = SeedSigner.generate()
    book_of(world.home).trust(Verifier("oficial/w1", signer.public_key, COSIGNATURE).vkey)
    line = 'appliance_audit_witness_age_seconds{witness="oficial/w1"} +Inf'
    assert line in here.get("/metrics").text
    away = TestClient(app, base_url="http://localhost", client=("192.0.2.9", 50000))
    assert away.get("/metrics").status_code == 404


def test_the_search_of_the_console_agrees_with_the_log(world: Any) -> None:
    connect(world.home, start=False).close()
    with reading(world.home, world.console.settings.console) as log:
        urgent = log.emergencies(world.console.clock.now().replace(hour=0), limit=100)
        assert len(urgent) == 2
        assert all(row.break_glass and row.phase != "intent" for row in urgent)
        assert log.index.count(Filter(break_glass=True)) == 4  # with their intents


def as_zip(data: bytes) -> zipfile.ZipFile:
    import zipfile

    return zipfile.ZipFile(io.BytesIO(data))


def test_evidence_for_a_patient_by_record_number(world: Any) -> None:
    officer = world.client("oficial")
    day = world.console.clock.now().astimezone(world.console.zone).date().isoformat()
    form = {"what": "patient", "patient": "PRONT-0042", "first": day, "last": day}
    answer = officer.post("/evidence", page="/evidence", **form, kind="inclusion")
    assert answer.headers["content-type"] == "application/zip", answer.text
    with as_zip(answer.content) as archive:
        accesses = archive.read("accesses.ndjson").decode()
        assert not any(b"PRONT-0042" in archive.read(name) for name in archive.namelist())
    assert accesses.count(world.patient) == len(accesses.splitlines()) >= 13
    outcome = world.said("console.export")[-1]
    assert outcome["patient"] == world.patient
    assert not list((world.home.root / "console" / "exports").iterdir())
    assert outcome["detail"]["sha256"] == hashlib.sha256(answer.content).hexdigest()
