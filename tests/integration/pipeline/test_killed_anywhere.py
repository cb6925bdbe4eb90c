"""SIGKILL in every stage, then the same command: nothing finished is run twice, nothing is lost."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import psutil
import pytest

from tests.integration.pipeline.conftest import SmallDemo

# stage -> seconds into it at which the process is killed (0: before it does anything; a stage that
# is quicker is killed after its work and before its record)
KILLS = {
    "machine": 0,
    "notes": 0,
    "import": 0,
    "deid": 0,
    "split": 0,
    "base": 4,
    "base_gguf": 1,
    "baseline": 0.5,
    "sft": 8,
    "preference": 8,
    "adapter_gguf": 1,
    "evaluation": 0.5,
    "gate": 0,
    "promote": 0,
    "serve": 0.5,
    "audit": 0,
}
ALWAYS = {"machine", "serve", "audit"}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_in_every_stage_the_same_command_goes_on(small_demo: SmallDemo) -> None:
    stages = list(KILLS)
    for number, stage in enumerate(stages):
        done = small_demo.run(stage=stage, do="kill", after=KILLS[stage])
        assert done.returncode == -9, (stage, done.stderr[-2000:])
        # What was killed last time runs now; all before it was finished and is kept.
        finished = stages[: max(0, number - 1)]
        assert _kept(done) == set(finished) - ALWAYS, stage
        status = json.loads(small_demo.appliance("pipeline", "status", "--json").stdout)
        assert status["running"] is None
        assert status["interrupted"]["stage"] == stage
        assert _trainers(small_demo) == []
        verified = json.loads(small_demo.appliance("audit", "verify", "--json").stdout)
        assert verified["ok"] is True, (stage, verified["problems"])
    last = small_demo.run()
    assert last.returncode == 0, last.stderr[-2000:]
    summary: dict[str, Any] = json.loads(last.stdout)
    assert summary["interrupted"]["stage"] == "audit"
    kept = {s["name"] for s in summary["stages"] if s["status"] == "kept"}
    assert kept == set(stages) - ALWAYS
    assert summary["isolation"]["attempts"] == 0
    interrupted = _logged(small_demo, "pipeline.interrupted")
    assert [e["detail"]["stage"] for e in interrupted] == stages
    unknown = [e for e in _logged(small_demo, "pipeline.stage") if e.get("outcome") == "unknown"]
    ended = [e for e in _logged(small_demo, "pipeline.stage") if e["phase"] == "outcome"]
    assert len(ended) + len(unknown) >= len(stages)


@pytest.mark.slow
def test_a_byte_changed_in_any_file_of_the_log_is_found(small_demo: SmallDemo) -> None:
    small_demo.run()
    assert small_demo.appliance("audit", "verify", "--json").returncode == 0
    _stop_writers(small_demo)
    files = [p for p in sorted((small_demo.home / "audit" / "log-0001").rglob("*")) if p.is_file()]
    assert len(files) >= 3
    for path in files:
        data = path.read_bytes()
        if not data:
            continue
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :])
        done = small_demo.appliance("audit", "verify", "--json")
        assert (done.returncode, json.loads(done.stdout)["ok"]) == (1, False), path
        path.write_bytes(data)
    assert small_demo.appliance("audit", "verify", "--json").returncode == 0


@pytest.mark.slow
def test_a_worse_adapter_is_refused_and_not_served(small_demo: SmallDemo, tmp_path: Any) -> None:
    small_demo.run()
    shown = small_demo.appliance("models", "list", "--json")
    assert shown.returncode == 0, shown.stderr
    from appliance.training.recipe import load_recipe

    strict = load_recipe("tiny").model_dump(mode="json")
    strict["gate"]["min_margin_gain"] = 50.0
    recipe = tmp_path / "strict.yaml"
    recipe.write_text(json.dumps(strict), encoding="utf-8")
    done = small_demo.run(recipe=str(recipe))
    assert done.returncode == 1, done.stderr[-2000:]
    summary = json.loads(done.stdout)
    assert (summary["ok"], summary["gate"]["ok"]) == (False, False)
    assert summary["answers"] == []
    refused = [e for e in _logged(small_demo, "models.promote") if e.get("outcome") == "refused"]
    assert refused, "the refusal is in the log"


def _kept(done: subprocess.CompletedProcess[str]) -> set[str]:
    from appliance.pipeline.line import TITLES

    lines = [line for line in done.stderr.splitlines() if " kept " in line]
    return {name for name, (title, _) in TITLES.items() if any(title in line for line in lines)}


def _trainers(demo: SmallDemo) -> list[str]:
    """Return trainer processes of this home that outlived their pipeline."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = " ".join(process.info["cmdline"] or [])
        if "appliance.training.worker" in words and str(demo.home) in str(process.info["cwd"]):
            found.append(words)
    return found


def _stop_writers(demo: SmallDemo) -> None:
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or [])
        if "appliance.audit.writer" in words and str(demo.home) in words:
            process.terminate()
            process.wait(30)


def _logged(demo: SmallDemo, action: str) -> list[dict[str, Any]]:
    done = demo.appliance("audit", "search", "--action", action, "--limit", "1000", "--json")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    events: list[dict[str, Any]] = value["entries"]
    return sorted(events, key=lambda e: int(e["written"]["n"]))
