from __future__ import annotations

from pathlib import Path

import pytest

from appliance.core.durable import exclusive, write_json
from appliance.core.errors import ModelUnknownError
from appliance.core.home import Home
from appliance.training.status import all_stages, cancel


def stage(home: Home, name: str, made: str | None = None) -> Path:
    run = home.runs / "training" / name
    write_json(
        run / "stage.json",
        {
            "stage": "sft",
            "key": "k",
            "recipe": "r",
            "inputs": {},
            "started": f"2026-01-01T00:00:0{len(name)}.000000Z",
            "object": made,
        },
    )
    (run / "metrics.jsonl").write_text('{"loss": 2.0, "step": 3, "total": 9}\n')
    return run


def test_no_training_yet(home: Home) -> None:
    assert all_stages(home) == []
    assert cancel(home, None) == []


def test_a_stage_is_finished_running_or_interrupted(home: Home) -> None:
    stage(home, "a", "f" * 64)
    stage(home, "bb")
    held = stage(home, "ccc")
    with exclusive(held / "lock", what="test"):
        found = all_stages(home)
        assert [(s["run"], s["state"]) for s in found] == [
            ("a", "finished"),
            ("bb", "interrupted"),
            ("ccc", "running"),
        ]
        assert (found[2]["step"], found[2]["total"], found[2]["loss"]) == (3, 9, 2.0)
        assert cancel(home, "bb") == []
        assert cancel(home, None) == ["ccc"]
        assert (held / "cancel").exists()
    assert all_stages(home)[2]["state"] == "interrupted"


def test_an_unknown_run_cannot_be_cancelled(home: Home) -> None:
    stage(home, "a")
    with pytest.raises(ModelUnknownError):
        cancel(home, "../../etc")
