from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.recorder import open_recorder
from appliance.cli.main import main
from appliance.core.home import Home
from tests.integration.audit.conftest import stop_writer


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run a command with --json; return its exit code and its object."""
    with pytest.raises(SystemExit) as caught:
        main(["audit", *arguments, "--json"])
    code = caught.value.code
    assert isinstance(code, int)
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, value


def test_append_search_verify_rotate(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    code, value = run(capsys, "append", "host.maintenance", "--user", "op", "--detail", "minutes=5")
    assert (code, value["index"]) == (0, 2)
    code, value = run(capsys, "search", "--user", "op")
    assert (code, value["count"]) == (0, 1)
    assert value["entries"][0]["detail"] == {"minutes": 5}
    with open_recorder(home, "gateway") as recorder:
        reason = "parada na sala vermelha"
        recorder.event("gateway.chat", user="op", break_glass=True, justification=reason)
    code, value = run(capsys, "search", "--emergency")
    assert (code, value["count"]) == (0, 1)
    assert value["entries"][0]["justification"] == "parada na sala vermelha"
    assert run(capsys, "rotate")[1]["log"] == 2
    kept = home.root / "kept"
    kept.write_bytes((home.audit / "log-0001" / "checkpoint").read_bytes())
    code, value = run(capsys, "verify", "--since", str(kept))
    assert (code, value["ok"], value["checked"]["kept_checkpoints"]) == (0, True, 1)
    assert value["entries"] == sum(shard["size"] for shard in value["shards"]) > value["size"]
    code, value = run(capsys, "status")
    assert (code, value["log"]) == (0, 2)
    stop_writer(home)
    assert run(capsys, "status")[0] == 1


def test_verify_answers_no_with_exit_code_1_and_the_place(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "append", "host.maintenance")
    stop_writer(home)
    path = next(Path(home.audit / "log-0001/tile/entries/000.p").iterdir())
    path.write_bytes(path.read_bytes().replace(b"maintenance", b"maintenancf"))
    code, value = run(capsys, "verify")
    assert (code, value["ok"]) == (1, False)
    assert value["problems"][0]["place"] == "log-0001: entry 2"
    folder, vkey = str(home.audit / "log-0001"), str(home.audit / "log-0001" / "log.vkey")
    assert run(capsys, "verify", "--log", folder, "--vkey", vkey)[0] == 1


def test_an_entry_with_an_identifier_is_refused_with_its_own_code(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    code, value = run(capsys, "append", "host.maintenance", "--reason", "CPF 529.982.247-25")
    assert (code, value["error"]["id"]) == (21, "audit-entry-refused")
    assert "529" not in json.dumps(value)
    stop_writer(home)


def test_verify_covers_what_was_appended_a_moment_ago(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.settings_file.write_text("[audit]\ncheckpoint_interval_s = 60\n", encoding="utf-8")
    sink = connect(home)
    _, value = run(capsys, "append", "host.maintenance")
    code, report = run(capsys, "verify")
    assert (code, report["size"]) == (0, value["index"] + 1)
    sink.ask(wire.STOP)
    sink.close()


def test_bench_measures_at_toy_size(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    toy = ["--entries", "2048", "--producers", "2", "--baseline-entries", "256"]
    code, value = run(capsys, "bench", *toy)
    assert code == 0
    assert value["verify"]["ok"] and value["reopen_after_kill"]["lost"] == 0
    assert value["append"]["entries"] == 2048
    assert value["baselines_entries_per_s"]["raw_file_fdatasync_per_256"] > 0
    assert not list(home.root.glob("bench-*"))
