"""The commands as a person types them, with the real audit log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "data"


@pytest.fixture
def run(tmp_path: Path) -> Any:
    def call(*arguments: str | Path) -> tuple[int, dict[str, Any], str]:
        done = subprocess.run(
            [sys.executable, "-m", "appliance", *map(str, arguments), "--json"],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "APPLIANCE_HOME": str(tmp_path / "home")},
        )
        return done.returncode, json.loads(done.stdout), done.stderr

    return call


def test_import_clean_split_check_and_report(run: Any, tmp_path: Path, shared_dir: Path) -> None:
    folder = shared_dir / "data" / "pubmedqa"
    notes = tmp_path / "notas"
    notes.mkdir()
    for number in range(6):
        (notes / f"{number}.txt").write_text(
            f"Paciente: Ana Lima\nCPF 529.982.247-25\nNota {number}."
        )
    code, imported, _ = run("data", "import", folder / "ori_pqal.json", notes)
    assert (code, imported["records"], imported["refused"]) == (0, 1006, 0)
    code, scanned, _ = run("deid", "scan", notes)
    assert (code, scanned["entities"]) == (1, {"BR_CPF": 6, "PERSON": 6})
    code, split, _ = run("data", "split", "--dataset", imported["dataset"])
    assert (code, split["error"]["id"]) == (46, "split-impossible")
    code, cleaned, _ = run("deid", "apply", "--dataset", imported["dataset"][:12])
    assert (code, cleaned["entities"]["BR_CPF"]) == (0, 6)
    ids = folder / "test_ground_truth.json"
    code, split, _ = run("data", "split", "--dataset", cleaned["dataset"], "--test-ids", ids)
    assert code == 0
    assert 500 <= split["splits"]["test"] <= 502
    code, checked, _ = run("data", "check", "--dataset", split["dataset"])
    assert (code, checked["ok"]) == (0, True)
    code, report, _ = run("deid", "report", "--dataset", split["dataset"])
    assert (code, report["left"]) == (0, "none found")
    code, listed, _ = run("data", "list")
    assert {d["stage"] for d in listed["datasets"]} == {"imported", "deidentified", "split"}
    code, shown, _ = run("data", "show", split["dataset"])
    assert shown["parent"] == cleaned["dataset"]
    home = tmp_path / "home"
    for path in (home / "audit").rglob("*"):
        if path.is_file():
            assert b"529.982" not in path.read_bytes()
            assert b"Ana Lima" not in path.read_bytes()


@pytest.mark.parametrize(("name", "code"), [("cut.json", 36), ("latin1.csv", 37)])
def test_an_error_has_its_exit_code_and_no_traceback(run: Any, name: str, code: int) -> None:
    found, answer, errors = run("data", "import", GOLDEN / name)
    assert (found, answer["ok"], answer["error"]["exit_code"]) == (code, False, code)
    assert "Traceback" not in errors
    assert "to do:" in errors


def test_bench_prints_recall(run: Any) -> None:
    code, value, _ = run("deid", "bench", "--notes", "20")
    assert code == 0
    assert {v for k, v in value["recall"].items() if k != "PERSON_UNLABELLED"} == {1.0}
    assert value["damaged"] == 0
