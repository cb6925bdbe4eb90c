"""The runner against a trainer that is a small script: what it survives and what it says."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.core.durable import exclusive
from appliance.core.errors import (
    ApplianceError,
    BusyError,
    DiskFullError,
    InterruptedRunError,
    SampleTooLongError,
    ToolFailedError,
    ToolMissingError,
    TrainingDivergedError,
    WeightsRefusedError,
)
from appliance.core.progress import NoProgress
from appliance.core.settings.training import TrainingSettings
from appliance.training.environment import Trainer, child_environment, find_trainer, link_code
from appliance.training.runner import run_stage, starter
from appliance.training.worker import protocol

JOB = {"stage": "sft", "seed": 7, "threads": 0}
SETTINGS = TrainingSettings(stall_seconds=10, stop_seconds=1)
TOO_LONG = """
say(kind='stopped', code=4, count=2, positions=[0, 5], longest=900, limit=512)
sys.exit(4)
"""


class Steps(NoProgress):
    """Keeps what was shown."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def update(self, done: float, total: float | None = None, note: str = "") -> None:
        self.notes.append(f"{done:g}/{total:g} {note}")


def fake(tmp_path: Path, body: str) -> Trainer:
    """Return a trainer whose python runs ``body`` with ``fd``, ``run`` and ``say`` at hand."""
    script = tmp_path / "trainer.py"
    script.write_text(
        f"#!{sys.executable}\n"
        "import json, os, pathlib, signal, sys, time\n"
        "fd = int(sys.argv[sys.argv.index('--fd') + 1]); run = pathlib.Path.cwd()\n"
        "def say(**m): os.write(fd, (json.dumps(m) + chr(10)).encode())\n" + body
    )
    script.chmod(0o755)
    return Trainer(script, tmp_path)


def run(tmp_path: Path, body: str, progress: Any = None, **changes: Any) -> dict[str, Any]:
    settings = SETTINGS.model_copy(update=changes | {"python": fake(tmp_path, body).python})
    start = starter(settings)
    return run_stage(tmp_path / "run", JOB, start, settings, progress or NoProgress())


def test_steps_become_progress_and_the_result_is_read(tmp_path: Path) -> None:
    steps = Steps()
    body = (
        "say(kind='note', text='x')\n"
        "say(kind='step', step=1, total=2, loss=1.5, token_accuracy=0.25)\n"
        "say(kind='step', step=2, total=2, loss=1.25)\n"
        "(run / 'result.json').write_text('{\"steps\": 2}')\n"
    )
    assert run(tmp_path, body, steps) == {"steps": 2}
    assert steps.notes == ["1/2 step 1/2 loss 1.500 accuracy 0.250", "2/2 step 2/2 loss 1.250"]
    assert json.loads((tmp_path / "run" / "job.json").read_bytes()) == JOB


def test_a_finished_stage_is_not_run_again(tmp_path: Path) -> None:
    run(tmp_path, "(run / 'result.json').write_text('{\"n\": 1}')\n")
    assert run(tmp_path, "sys.exit(9)\n") == {"n": 1}


@pytest.mark.parametrize(
    ("body", "error", "found"),
    [
        ("sys.exit(7)", ToolFailedError, "exit code 7"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ToolFailedError, "killed"),
        ("raise RuntimeError('patient text')", ToolFailedError, "exit code 1"),
        (
            TOO_LONG,
            SampleTooLongError,
            "lines [1, 6]",
        ),
        (
            "say(kind='stopped', code=5, why='not a number'); sys.exit(5)",
            TrainingDivergedError,
            "n",
        ),
        (
            "say(kind='stopped', code=6, why='another template'); sys.exit(6)",
            WeightsRefusedError,
            "",
        ),
        (
            "say(kind='stopped', code=3, why='cancelled'); sys.exit(3)",
            InterruptedRunError,
            "cancel",
        ),
    ],
)
def test_each_end_of_the_trainer_has_its_own_error(
    tmp_path: Path, body: str, error: type[ApplianceError], found: str
) -> None:
    with pytest.raises(error) as caught:
        run(tmp_path, body)
    assert found in caught.value.found
    assert "patient text" not in str(caught.value)
    assert not (tmp_path / "run" / "pid").exists()


def test_a_full_disk_is_called_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1_000))
    with pytest.raises(DiskFullError, match="1000 bytes"):
        run(tmp_path, "sys.exit(1)")


def test_a_silent_trainer_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ToolFailedError, match="silent"):
        run(tmp_path, "time.sleep(60)\n", stall_seconds=1)


def test_a_trainer_that_does_not_hear_the_cancel_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def ask() -> None:
        while not (folder / "pid").exists():
            time.sleep(0.01)
        (folder / protocol.CANCEL_FILE).touch()

    thread = threading.Thread(target=ask)
    thread.start()
    with pytest.raises(InterruptedRunError):
        run(tmp_path, "say(kind='note', text='x')\ntime.sleep(60)\n")
    thread.join()


def test_a_cancel_of_an_earlier_run_does_not_stop_this_one(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / protocol.CANCEL_FILE).touch()
    body = "(run / 'result.json').write_text('{}')\nsys.exit((run / 'cancel').exists())\n"
    assert run(tmp_path, body) == {}


def test_a_half_written_output_of_an_earlier_run_is_gone(tmp_path: Path) -> None:
    half = tmp_path / "run" / protocol.OUTPUT_FOLDER
    half.mkdir(parents=True)
    (half / "adapter_model.safetensors").write_bytes(b"half")
    body = "(run / 'result.json').write_text('{}')\nsys.exit((run / 'output').exists())\n"
    assert run(tmp_path, body) == {}


def test_a_link_in_the_output_is_not_followed(tmp_path: Path) -> None:
    body = (
        "(run / 'output').mkdir()\n"
        "(run / 'output' / 'adapter_config.json').symlink_to('/etc/hostname')\n"
        "(run / 'result.json').write_text('{}')\n"
    )
    with pytest.raises(ToolFailedError, match="plain files"):
        run(tmp_path, body)


def test_a_second_run_of_the_same_stage_waits_for_nobody(tmp_path: Path) -> None:
    with exclusive(tmp_path / "run" / "lock", what="test"), pytest.raises(BusyError):
        run(tmp_path, "sys.exit(0)\n")


def test_the_trainer_sees_no_token_and_stays_offline(tmp_path: Path) -> None:
    inherited = {
        "PATH": "/bin",
        "HF_TOKEN": "secret",
        "HTTPS_PROXY": "http://proxy",
        "PYTHONPATH": "/guard",
        "APPLIANCE_NETWORK_GUARD_LOG": "/log",
    }
    found = child_environment(tmp_path, TrainingSettings(threads=3), 7, inherited)
    assert "HF_TOKEN" not in found
    assert "HTTPS_PROXY" not in found
    assert found["APPLIANCE_NETWORK_GUARD_LOG"] == "/log"
    assert found["PYTHONPATH"] == f"{tmp_path / 'code'}{os.pathsep}/guard"
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "UNSLOTH_DISABLE_STATISTICS"):
        assert found[name] == "1"
    for name in ("HOME", "HF_HOME", "TMPDIR", "XDG_CACHE_HOME"):
        assert Path(found[name]).is_relative_to(tmp_path)
    assert "UNSLOTH_FORCE_CPU" not in found
    assert found["OMP_NUM_THREADS"] == "3"
    forced = child_environment(tmp_path, TrainingSettings(device="cpu"), 7, {})
    assert forced["UNSLOTH_FORCE_CPU"] == "1"


def test_the_trainer_sees_this_package_only(tmp_path: Path) -> None:
    for _ in range(2):
        link_code(tmp_path)
    assert [p.name for p in (tmp_path / "code").iterdir()] == ["appliance"]
    assert (tmp_path / "code" / "appliance" / "training" / "worker").is_dir()


def test_a_missing_trainer_and_a_missing_converter_are_named(tmp_path: Path) -> None:
    with pytest.raises(ToolMissingError, match=r"training\.python"):
        find_trainer(TrainingSettings(python=tmp_path / "none"))
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch(mode=0o755)
    trainer = find_trainer(TrainingSettings(python=python))
    with pytest.raises(ToolMissingError, match="convert_hf_to_gguf"):
        trainer.require_converter()


def test_metrics_cut_by_a_crash_are_read_up_to_the_cut(tmp_path: Path) -> None:
    path = tmp_path / protocol.METRICS_FILE
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    assert [row["step"] for row in protocol.read_metrics(tmp_path)] == [1, 2, 3]
    protocol.trim_metrics(tmp_path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_an_offered_job_says_what_the_agent_calls_its_home(tmp_path: Path) -> None:
    """The service sees the same folders under another name: paths below the home move."""
    folder = tmp_path / "home" / "runs" / "training" / "sft-1"
    folder.mkdir(parents=True)
    home = str(tmp_path / "home")
    job = JOB | {
        "base": f"{home}/models/a",
        "adapter": None,
        "script": "/usr/share/llama.cpp/x.py",
        "arguments": [f"{home}/models/b", "--outtype", f"{home}er"],
    }
    running = starter(SETTINGS.model_copy(update={"runner": "attached"}))(folder, job)
    running.close()
    offered = json.loads((folder / protocol.JOB_FILE).read_bytes())
    seen = protocol.seen_here(offered, Path("/var/lib/appliance/runs/training/sft-1"))
    assert seen == job | {
        "base": "/var/lib/appliance/models/a",
        "arguments": ["/var/lib/appliance/models/b", "--outtype", f"{home}er"],
    }
    assert protocol.seen_here(offered, folder) == job
    assert protocol.seen_here(job, Path("/elsewhere")) == job
