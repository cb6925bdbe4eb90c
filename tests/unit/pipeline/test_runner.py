from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.durable import write_json
from appliance.core.errors import AuditUnavailableError, BusyError, DiskFullError
from appliance.core.home import Home
from appliance.pipeline.graph import Stage
from appliance.pipeline.runner import (
    PipelineRun,
    StageResult,
    pipeline_lock,
    require_space,
    run_stages,
)


class Quiet:
    """A listener that keeps what it was told."""

    def __init__(self) -> None:
        self.ended: list[StageResult] = []

    def stage_begins(self, stage: Stage, number: int, total: int) -> None:
        """Say nothing."""

    def stage_ends(self, result: StageResult, number: int, total: int) -> None:
        """Keep the result."""
        self.ended.append(result)


class Work:
    """Two stages that count how often they ran."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.present = True
        self.fail = False

    def stages(self, seed: int = 1) -> list[Stage]:
        """Return ``first`` and ``second``, which needs it."""

        def first(_: Mapping[str, Any]) -> dict[str, Any]:
            self.ran.append("first")
            return {"hash": f"h{seed}"}

        def second(inputs: Mapping[str, Any]) -> dict[str, Any]:
            self.ran.append("second")
            if self.fail:
                raise RuntimeError
            return {"from": inputs["first"]["hash"]}

        return [
            Stage("second", "Second", second, needs=("first",)),
            Stage("first", "First", first, params={"seed": seed}, present=lambda _: self.present),
        ]

    def run(self, home: Home, recorder: MemoryRecorder, seed: int = 1) -> PipelineRun:
        """Run both stages once."""
        return run_stages(home, self.stages(seed), recorder, Quiet())


def test_finished_stages_are_kept_and_the_log_says_so(home: Home) -> None:
    work, recorder = Work(), MemoryRecorder()
    first = work.run(home, recorder)
    second = work.run(home, recorder)
    assert work.ran == ["first", "second"]
    assert [r.status for r in first.results] == ["ran", "ran"]
    assert [r.status for r in second.results] == ["kept", "kept"]
    assert second.outputs()["second"] == {"from": "h1"}
    assert [e.action for e in recorder.events].count("pipeline.kept") == 2


def test_a_changed_parameter_runs_what_follows_too(home: Home) -> None:
    work, recorder = Work(), MemoryRecorder()
    work.run(home, recorder, seed=1)
    work.run(home, recorder, seed=2)
    assert work.ran == ["first", "second", "first", "second"]


def test_outputs_that_went_missing_are_made_again(home: Home) -> None:
    work, recorder = Work(), MemoryRecorder()
    work.run(home, recorder)
    work.present = False
    run = work.run(home, recorder)
    assert [r.status for r in run.results] == ["ran", "kept"]


def test_a_damaged_record_is_not_believed(home: Home) -> None:
    work, recorder = Work(), MemoryRecorder()
    run = work.run(home, recorder)
    path = home.runs / "stages" / f"{run.results[0].key}.json"
    path.write_bytes(path.read_bytes()[:20])
    assert work.run(home, recorder).results[0].status == "ran"


def test_a_failed_stage_is_a_failure_in_the_log_and_runs_again(home: Home) -> None:
    work, recorder = Work(), MemoryRecorder()
    work.fail = True
    with pytest.raises(RuntimeError):
        work.run(home, recorder)
    assert recorder.events[-1].outcome == "failure"
    work.fail = False
    run = work.run(home, recorder)
    assert run.interrupted is None
    assert [r.status for r in run.results] == ["kept", "ran"]


def test_a_killed_run_is_recorded_as_interrupted(home: Home) -> None:
    work, recorder = Work(), MemoryRecorder()
    write_json(home.runs / "current.json", {"stage": "second", "key": "k", "started": "t"})
    run = work.run(home, recorder)
    assert run.interrupted == {"stage": "second", "key": "k", "started": "t"}
    assert recorder.events[0].action == "pipeline.interrupted"
    assert work.run(home, recorder).interrupted is None


def test_nothing_runs_when_it_cannot_be_recorded(home: Home) -> None:
    class Broken(MemoryRecorder):
        def intent(self, action: str, **fields: Any) -> Any:
            raise AuditUnavailableError(expected="a log", found="none")

    work = Work()
    with pytest.raises(AuditUnavailableError):
        work.run(home, Broken())
    assert work.ran == []


def test_a_second_run_on_the_same_home_is_refused(home: Home) -> None:
    with pipeline_lock(home), pytest.raises(BusyError), pipeline_lock(home):
        pass


def test_too_little_space_is_said_before_anything_runs(home: Home) -> None:
    with pytest.raises(DiskFullError):
        require_space(home.root, 1 << 60)
