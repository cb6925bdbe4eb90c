"""An officer's day on a real log: proofs, a witness, evidence, exports, erasure, retention."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.erase import Subjects
from appliance.audit.officer import WitnessCollector
from appliance.audit.pseudonym import Pseudonyms
from appliance.audit.recorder import open_recorder
from appliance.audit.tiles import entries_path
from appliance.cli.main import main
from appliance.core.clock import SystemClock
from appliance.core.home import Home
from appliance.core.settings.audit import AuditSettings
from tests.integration.audit.conftest import stop_writer

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def run(home: Home, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command of this home with ``--json``; return its exit code and its answer."""
    home.settings_file.write_text("[audit]\nidle_exit_s = 1\n")

    def run(*arguments: str) -> tuple[int, Any]:
        with pytest.raises(SystemExit) as ended:
            main(["--home", str(home.root), "audit", *arguments, "--json"])
        out = capsys.readouterr().out
        return int(str(ended.value.code)), json.loads(out) if out.strip() else None

    return run


@pytest.fixture
def accesses(home: Home, run: Run) -> list[str]:
    """Three accesses to one patient among others; returns the pseudonyms."""
    names = Pseudonyms(home)
    ana, bia = names.pseudonym("1234567"), names.pseudonym("7654321")
    with open_recorder(home, "gateway", user="doctor-1") as recorder:
        for patient in (ana, bia, ana, bia, bia, ana):
            with recorder.action("gateway.chat", patient=patient, model="sha256:aa"):
                pass
    return [ana, bia]


def script(path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", "-S", str(path), *arguments],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_evidence_of_a_patient_verifies_on_another_machine(
    tmp_path: Path, run: Run, accesses: list[str]
) -> None:
    target = tmp_path / "evidence.zip"
    code, answer = run(
        "evidence", "--patient", accesses[0], "--from", "2020-01-01", "-o", str(target)
    )
    # Three intents, three outcomes; the officer's own export stands after the period.
    assert (code, answer["matches"], answer["parts"]) == (0, 6, 1)
    with zipfile.ZipFile(target) as archive:
        archive.extractall(tmp_path / "other")
    done = script(tmp_path / "other" / "verify.py")
    assert done.returncode == 0 and "RESULTADO: VÁLIDO" in done.stdout, done.stdout + done.stderr
    [key] = answer["log_keys"]
    assert script(tmp_path / "other" / "verify.py", "--key", key).returncode == 0
    code, found = run("search", "--action", "audit.export")
    assert {e["phase"] for e in found["entries"]} == {"intent", "outcome"}
    assert found["entries"][0]["detail"]["sha256"] == answer["sha256"]


def test_evidence_over_a_key_rotation_verifies(
    tmp_path: Path, run: Run, accesses: list[str]
) -> None:
    assert run("rotate")[0] == 0
    target = tmp_path / "evidence.zip"
    code, answer = run("evidence", "--query", "action=gateway.chat", "-o", str(target))
    assert (code, answer["parts"], answer["matches"]) == (0, 2, 12)
    with zipfile.ZipFile(target) as archive:
        archive.extractall(tmp_path / "other")
    done = script(tmp_path / "other" / "verify.py", "--lang", "en")
    assert done.returncode == 0, done.stdout
    assert "The next log starts with the final state of the one before." in done.stdout


def test_an_entry_is_proved_by_index_and_by_id(
    tmp_path: Path, run: Run, accesses: list[str]
) -> None:
    target = tmp_path / "e.tlog-proof"
    code, answer = run("prove", "--index", "3", "-o", str(target))
    assert (code, answer["index"]) == (0, 3)
    entry = tmp_path / "e.json"
    assert run("prove", "--check", str(target), "--entry", str(entry))[1]["ok"]
    ident = json.loads(entry.read_bytes())["id"]
    other = tmp_path / "i.tlog-proof"
    assert run("prove", "--id", ident, "-o", str(other))[1]["index"] == 3
    entry.write_bytes(entry.read_bytes().replace(b"doctor-1", b"doctor-2"))
    code, answer = run("prove", "--check", str(target), "--entry", str(entry))
    assert (code, answer["ok"]) == (1, False)
    assert run("prove", "--index", "9999", "-o", str(target))[0] == 30
    assert run("prove")[0] == 2


def test_a_witness_signs_and_the_evidence_carries_it(
    tmp_path: Path, run: Run, home: Home, accesses: list[str]
) -> None:
    device, folder = tmp_path / "witness.py", str(tmp_path / "device")
    assert run("witness", "script", str(device))[0] == 0
    vkey = script(device, "--folder", folder, "init", "--name", "officer.example/w1").stdout.strip()
    assert run("witness", "status")[0] == 1
    assert run("witness", "trust", vkey)[0] == 0
    request, reply = tmp_path / "request.txt", tmp_path / "reply.txt"
    code, asked = run("witness", "request", "-o", str(request), "--qr", str(tmp_path / "r.png"))
    assert code == 0 and (tmp_path / "r.png").stat().st_size > 500
    script(device, "--folder", folder, "trust", asked["vkey"])
    done = script(device, "--folder", folder, "cosign", str(request), "-o", str(reply))
    assert done.returncode == 0, done.stderr
    code, taken = run("witness", "import", str(reply))
    assert (code, taken["size"]) == (0, asked["size"])
    code, state = run("witness", "status")
    assert code == 0 and state["witnesses"][0]["behind"] > 0
    assert run("verify")[0] == 0
    families = WitnessCollector(home, AuditSettings(), SystemClock()).collect()
    values = {f.name: [s.value for s in f.samples] for f in families}
    assert values["appliance_audit_witness_conflict"] == [0.0]
    assert 0 <= values["appliance_audit_witness_age_seconds"][0] < 3600
    proof = tmp_path / "p.tlog-proof"
    assert run("prove", "--index", "2", "-o", str(proof))[1]["witnesses"] == ["officer.example/w1"]
    checked = run("prove", "--check", str(proof), "--entry", str(tmp_path / "p.json"))[1]
    assert checked["witnesses"][0]["witness"] == "officer.example/w1"
    # Evidence about what the witness saw carries its signature, and can be asked to.
    target = tmp_path / "evidence.zip"
    entry = json.loads((tmp_path / "p.json").read_bytes())
    until = entry["written"]["at"]
    code, made = run("evidence", "--to", until, "-o", str(target))
    assert (code, made["witnesses"]) == (0, 1)
    assert run("witness", "script", "--verifier", str(tmp_path / "verify.py"))[0] == 0
    pins = ("--key", asked["vkey"], "--witness", vkey)
    assert script(tmp_path / "verify.py", str(target), *pins).returncode == 0
    # The next request starts from what the device saw.
    assert run("witness", "request", "-o", str(request))[0] == 0
    assert request.read_text().startswith(f"old {asked['size']}\n")
    # A reply to nothing that was asked is refused, in words.
    reply.write_text("nothing\n")
    assert run("witness", "import", str(reply))[0] == 31


def test_an_older_copy_of_the_whole_home_is_refused_by_the_device(
    tmp_path: Path, run: Run, home: Home, accesses: list[str]
) -> None:
    """Everything on the machine is put back, its witness files too: only the device remembers."""
    device, folder = tmp_path / "witness.py", str(tmp_path / "device")
    run("witness", "script", str(device))
    vkey = script(device, "--folder", folder, "init", "--name", "officer.example/w1").stdout.strip()
    run("witness", "trust", vkey)
    stop_writer(home)
    shutil.copytree(home.audit, tmp_path / "older")
    request = tmp_path / "request.txt"
    for user in ("doctor-2", "doctor-3", "doctor-4"):
        run("append", "data.read", "--user", user)
    asked = run("witness", "request", "-o", str(request))[1]
    script(device, "--folder", folder, "trust", asked["vkey"])
    assert script(device, "--folder", folder, "cosign", str(request)).returncode == 0
    stop_writer(home)
    shutil.rmtree(home.audit)
    shutil.copytree(tmp_path / "older", home.audit)
    assert run("verify")[0] == 0  # by itself the older copy is whole
    again = run("witness", "request", "-o", str(request))[1]
    assert again["size"] < asked["size"]
    done = script(device, "--folder", folder, "cosign", str(request))
    assert done.returncode == 1 and "SHRANK" in done.stderr


@pytest.mark.parametrize("form", ["balp", "atna", "ocsf", "ecs", "cef", "csv"])
def test_every_export_leaves_a_trace_in_the_log(
    tmp_path: Path, run: Run, accesses: list[str], form: str
) -> None:
    target = tmp_path / "out"
    code, answer = run("export", "--format", form, "-o", str(target))
    assert code == 0 and answer["entries"] >= 12 and target.stat().st_size > 1000
    found = run("search", "--action", "audit.export")[1]["entries"]
    assert found[0]["detail"]["sha256"] == answer["sha256"]


def test_erasing_a_subject_leaves_the_log_intact(run: Run, home: Home, accesses: list[str]) -> None:
    subjects = Subjects(home)
    with open_recorder(home, "gateway") as recorder:
        sealed = subjects.seal(accesses[0], {"reason": "asked by the family"})
        recorder.event("data.read", patient=accesses[0], sealed=sealed)
    assert run("verify")[0] == 0
    code, answer = run("erase", "--subject", accesses[0], "--yes")
    assert code == 0 and answer["index"] > 0
    assert run("verify")[0] == 0
    assert run("erase", "--subject", accesses[0], "--yes")[0] == 12
    assert not list((home.keys / "subjects").rglob("*.key"))


def test_retention_says_what_is_due_and_removes_nothing_young(
    run: Run, accesses: list[str]
) -> None:
    code, answer = run("retention", "status")
    assert (code, answer["years"]) == (0, 6)
    assert answer["logs"] == [{"log": "log-0001", "pruned_before": 0, "entries_due": 0}]
    assert run("retention", "prune", "--yes")[1]["entries"] == 0


def test_after_six_years_old_bundles_go_and_the_log_still_verifies(
    run: Run, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_recorder(home, "gateway", user="doctor-1") as recorder:
        for _ in range(600):
            recorder.event("gateway.chat", patient="p1-ana")
    now = SystemClock().now()
    with monkeypatch.context() as later:
        later.setattr(SystemClock, "now", lambda _: now + timedelta(days=7 * 365.25))
        assert run("retention", "status")[1]["logs"][0]["entries_due"] == 512
        code, answer = run("retention", "prune", "--yes")
    assert (code, answer["entries"], answer["bundles"]) == (0, 512, 2)
    folder = home.audit / "log-0001"
    assert not (folder / entries_path(0)).exists() and not (folder / entries_path(1)).exists()
    assert run("verify")[0] == 0
    assert run("search", "--action", "audit.prune")[1]["entries"][0]["detail"]["before"] == 512
    # The same loss without the logged line is damage.
    (folder / "pruned.json").unlink()
    code, answer = run("verify")
    assert (code, answer["ok"]) == (1, False)


def test_the_audit_file_is_collected_once(tmp_path: Path, run: Run) -> None:
    path = tmp_path / "audit.log"
    path.write_text(
        "type=NETFILTER_CFG msg=audit(1772366401.000:79): table=filter:2 family=2 entries=4 "
        'op=nft_register_rule pid=902 subj=unconfined comm="nft"\n'
    )
    arguments = ("collect", "--no-journal", "--auditd", str(path))
    assert run(*arguments)[1]["auditd"]["events"] == 1
    assert run(*arguments)[1]["auditd"]["events"] == 0
    [entry] = run("search", "--action", "host.firewall")[1]["entries"]
    assert (entry["object_id"], entry["component"]) == ("filter", "host")
    assert run("collect", "--no-journal")[0] == 2
    assert run("verify")[0] == 0
