"""The whole answer about a home, and a bundle in which planted secrets never appear."""

from __future__ import annotations

import contextlib
import json
import platform
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.recorder import open_recorder
from appliance.cli.main import cli
from appliance.core.clock import FixedClock
from appliance.core.durable import write_json
from appliance.core.errors import ApplianceError
from appliance.core.errors.host import SupportBundleError
from appliance.core.home import Home
from appliance.core.settings import Settings, load_settings
from appliance.host.certificate import make
from appliance.host.doctor import Doctor, Finding, examine
from appliance.host.support import forbid, redacted, secrets_of, write_bundle

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
CPF = "529.982.247-25"
TOKEN = "hk_live_Zm9vYmFyYmF6cXV1eHF1dXV4"
PERSON = "Maria Sintetica da Silva"
ADDRESS = "10.88.3.7"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    found = Home(tmp_path / "home").prepare()
    with open_recorder(found, "test") as recorder:
        recorder.event("data.import", detail={"records": 3, "file": "notas.csv"})
    yield found
    with contextlib.suppress(ApplianceError):
        sink = connect(found, start=False)
        sink.ask(wire.STOP)
        sink.close()


def doctor(home: Home, **host: object) -> Doctor:
    settings = Settings.model_validate({"host": {"doctor_min_free_bytes": 0} | host})
    return Doctor(home, settings, FixedClock(NOW))


def test_a_new_home_is_healthy_and_says_what_is_not_there_yet(home: Home) -> None:
    answer = examine(doctor(home).looks())
    assert answer["ok"], answer
    names = [check["name"] for check in answer["checks"]]
    assert names == [
        "settings",
        "home",
        "audit-writer",
        "audit-log",
        "witness",
        "model",
        "datasets",
        "certificate",
        "gateway",
        "console",
        "backup",
    ]


def bad(answer: dict[str, object]) -> list[str]:
    checks = answer["checks"]
    assert isinstance(checks, list)
    return [check["name"] for check in checks if not check["ok"]]


def test_wrong_settings_are_one_line_and_the_rest_goes_on(home: Home) -> None:
    home.settings_file.write_text("[host]\nno_such_key = 1\n", encoding="utf-8")
    answer = examine(doctor(home).looks())
    assert "settings" in bad(answer)
    assert not {"home", "model", "datasets"} & set(bad(answer))


def test_a_full_disk_is_said(home: Home) -> None:
    assert bad(examine(doctor(home, doctor_min_free_bytes=1 << 60).looks())) == ["home"]


def test_a_damaged_log_is_said(home: Home) -> None:
    tile = next(p for p in (home.audit / "log-0001").rglob("*") if p.is_file() and "wal" in p.parts)
    tile.write_bytes(b"\0" * tile.stat().st_size)
    assert "audit-log" in bad(examine(doctor(home).looks()))


def test_a_provisioned_machine_must_have_a_backup(home: Home) -> None:
    (home.root / "host").mkdir()
    write_json(home.root / "host" / "provision.json", {"roles": {}, "changed": 0})
    assert bad(examine(doctor(home).looks())) == ["backup"]


def test_a_machine_with_the_bundles_services_must_have_them_answer(home: Home) -> None:
    (home.root / "host").mkdir()
    write_json(home.root / "host" / "provision.json", {"roles": {}, "changed": 0})
    images = home.root / "bundle" / "current" / "content" / "images"
    images.mkdir(parents=True)
    (images / "compose.yaml").write_text("name: appliance\n", encoding="utf-8")
    found = bad(examine(doctor(home).looks()))
    assert found == ["certificate", "gateway", "console", "backup"]
    make(home, ("127.0.0.1",), datetime.now(tz=UTC))
    assert bad(examine(doctor(home).looks())) == ["gateway", "console", "backup"]
    late = Doctor(home, doctor(home).settings, FixedClock(datetime(2099, 1, 1, tzinfo=UTC)))
    assert not late.certificate().ok


def test_a_backup_gets_old(home: Home) -> None:
    with open_recorder(home, "backup") as recorder, recorder.action("backup.create"):
        pass
    late = Doctor(home, doctor(home).settings, FixedClock(datetime(2099, 1, 1, tzinfo=UTC)))
    assert not late.backup().ok
    early = Doctor(home, doctor(home).settings, FixedClock(datetime.now(tz=UTC)))
    assert early.backup().ok


def test_a_look_that_breaks_is_a_line_without_its_text() -> None:
    def broken() -> Finding:
        raise ValueError(PERSON)

    answer = examine({"part": broken})
    assert not answer["ok"]
    assert PERSON not in json.dumps(answer)


def plant(home: Home) -> None:
    """Put secrets and identifiers everywhere a bundle could pick them up."""
    home.settings_file.write_text(
        f'[host]\naddress = "{ADDRESS}/24"\nadmin_keys = ["ssh-ed25519 {TOKEN} {PERSON}"]\n'
        f'recovery_file = "/media/{PERSON}/key"\n',
        encoding="utf-8",
    )
    (home.keys / "gateway.json").write_text(json.dumps({"token": TOKEN}), encoding="utf-8")
    (home.keys / "raw.key").write_bytes(bytes(range(32)))
    stages = home.runs / "stages"
    stages.mkdir(parents=True)
    write_json(
        stages / "train.json",
        {
            "format": 1,
            "stage": "train",
            "key": "ab" * 32,
            "outputs": {"note": f"{PERSON} {CPF}", "loss": 0.25, "token": TOKEN},
            "command": f"--token {TOKEN}",
        },
    )
    with open_recorder(home, "test", user="Fulana") as recorder:
        recorder.event(
            "gateway.chat",
            patient="p" * 32,
            object_id="notas-de-Maria",
            detail={"tokens": 12, "word": "Maria"},
        )


def test_planted_secrets_and_identifiers_are_in_no_byte_of_the_bundle(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(home)
    monkeypatch.setattr(platform, "node", lambda: "estacao-07")
    target = tmp_path / "support.tar.gz"
    settings = load_settings(home.settings_file)
    health = examine(doctor(home).looks())
    write_bundle(home, settings, target, health, FixedClock(NOW))
    with tarfile.open(target) as archive:
        members = {
            m.name: stream.read()
            for m in archive.getmembers()
            if (stream := archive.extractfile(m)) is not None
        }
    whole = b"\n".join(members.values()).decode()
    planted = (CPF, TOKEN, PERSON, "Maria", "Fulana", ADDRESS, "p" * 32, bytes(range(32)).hex())
    assert [word for word in (*planted, "estacao-07", str(home.root)) if word in whole] == []
    stages = json.loads(members["support/stages.json"])
    assert stages[0]["outputs"]["loss"] == 0.25
    tail = json.loads(members["support/log-tail.json"])
    chats = [entry for entry in tail if entry["action"] == "gateway.chat"]
    assert [entry["numbers"] for entry in chats] == [{"tokens": 12}]
    assert json.loads(members["support/settings.json"])["host"]["address"] == "[set]"
    assert target.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", [CPF, "(11) 98888-7777", "alguem@hospital.example", TOKEN])
def test_the_last_look_refuses_what_the_redaction_let_through(text: str, home: Home) -> None:
    (home.keys / "k").write_text(TOKEN, encoding="utf-8")
    with pytest.raises(SupportBundleError):
        forbid({"x.json": json.dumps({"a": text}).encode()}, secrets_of(home))


def test_numbers_and_switches_of_the_settings_stay() -> None:
    shown = redacted(Settings().model_dump(mode="json"))
    assert shown["host"]["scan_parallel"] == 512
    assert shown["host"]["tpm"] is True
    assert shown["hardware"]["profile"] == "2x-rtx-5090"


def test_the_command_prints_one_object(home: Home) -> None:
    result = CliRunner().invoke(cli, ["--home", str(home.root), "doctor", "--json"])
    value = json.loads(result.output)
    assert {check["name"] for check in value["checks"]} >= {"bundle", "hardware", "host"}
