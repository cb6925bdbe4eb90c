"""Runs the stages: finished ones are kept, an interruption is recorded, nothing runs twice."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from appliance.audit.recorder import Recorder
from appliance.core.clock import Clock, SystemClock, rfc3339
from appliance.core.durable import exclusive, os_errors, read_json, sweep_temporaries, write_json
from appliance.core.errors import BusyError, DiskFullError, StateDamagedError
from appliance.core.home import Home
from appliance.pipeline.graph import Outputs, Stage, ordered, stage_key

RECORD_FORMAT = 1


class Listener(Protocol):
    """Who is told while the pipeline runs."""

    def stage_begins(self, stage: Stage, number: int, total: int) -> None:
        """A stage is about to run."""
        ...

    def stage_ends(self, result: StageResult, number: int, total: int) -> None:
        """A stage was run or kept."""
        ...


@dataclass(frozen=True)
class StageResult:
    """What came of one stage: ``status`` is ``ran`` or ``kept``."""

    name: str
    title: str
    key: str
    status: str
    seconds: float
    outputs: Outputs


@dataclass
class PipelineRun:
    """One pass over the graph."""

    results: list[StageResult] = field(default_factory=list)
    interrupted: dict[str, Any] | None = None

    def outputs(self) -> dict[str, Outputs]:
        """Return stage name -> outputs."""
        return {r.name: r.outputs for r in self.results}


class StageStore:
    """Records of finished stages, and the note of the one that is running."""

    def __init__(self, home: Home) -> None:
        """Keep records under ``home.runs / stages``."""
        self._folder = home.runs / "stages"
        self._current = home.runs / "current.json"

    def finished(self, stage: Stage, key: str) -> dict[str, Any] | None:
        """Return the record of ``key`` when its outputs are still there, else None."""
        path = self._folder / f"{key}.json"
        if not path.exists():
            return None
        try:
            record = read_json(path)
            outputs = record["outputs"]
            whole = record["format"] == RECORD_FORMAT and record["key"] == key
        except (StateDamagedError, KeyError, TypeError):
            return None
        return record if whole and stage.present(outputs) else None

    def begin(self, stage: Stage, key: str, started: str) -> None:
        """Note that ``stage`` runs now; the note outlives a crash."""
        write_json(self._current, {"stage": stage.name, "key": key, "started": started})

    def finish(self, stage: Stage, key: str, record: Mapping[str, Any]) -> None:
        """Record that ``stage`` finished, then drop the note."""
        write_json(
            self._folder / f"{key}.json",
            {"format": RECORD_FORMAT, "stage": stage.name, "key": key, **record},
        )
        self.clear()

    def clear(self) -> None:
        """Drop the note: nothing runs."""
        with os_errors(self._current):
            self._current.unlink(missing_ok=True)

    def interrupted(self) -> dict[str, Any] | None:
        """Return the note that an earlier, killed run left behind."""
        if not self._current.exists():
            return None
        try:
            note = read_json(self._current)
        except StateDamagedError:
            return {"stage": "unknown", "key": "", "started": ""}
        return note if isinstance(note, dict) else None

    def all(self) -> list[dict[str, Any]]:
        """Return the records of all finished stages, oldest first."""
        paths = self._folder.glob("*.json") if self._folder.is_dir() else ()
        return sorted((read_json(p) for p in paths), key=lambda record: str(record["started"]))

    def sweep(self) -> None:
        """Remove half-written files of an earlier run."""
        sweep_temporaries(self._folder)


def require_space(folder: Path, need_bytes: int) -> None:
    """Refuse to start when ``folder``'s file system has less than ``need_bytes`` free."""
    with os_errors(folder):
        free = shutil.disk_usage(folder).free
    if free < need_bytes:
        raise DiskFullError(
            expected=f"{need_bytes / 1e6:.0f} MB free at {folder} before the pipeline starts",
            found=f"{free / 1e6:.0f} MB",
        )


@contextmanager
def pipeline_lock(home: Home) -> Iterator[None]:
    """Hold the pipeline: a second run on the same home is refused with ``BusyError``."""
    with exclusive(home.run / "pipeline.lock", what="pipeline run"):
        yield


def run_stages(
    home: Home,
    stages: list[Stage],
    recorder: Recorder,
    listener: Listener,
    clock: Clock | None = None,
) -> PipelineRun:
    """Run ``stages`` in order; the caller holds :func:`pipeline_lock`.

    Every stage that runs has a durable intent in the audit log first and an outcome after; a
    stage that is kept is recorded as one event, so the log tells the whole story of each run.
    """
    clock = clock or SystemClock()
    store = StageStore(home)
    store.sweep()
    run = PipelineRun(interrupted=store.interrupted())
    if run.interrupted is not None:
        recorder.event(
            "pipeline.interrupted",
            object_id=str(run.interrupted.get("key", "")),
            detail={"stage": str(run.interrupted.get("stage", ""))},
        )
        store.clear()
    outputs: dict[str, Outputs] = {}
    plan = ordered(stages)
    for number, stage in enumerate(plan, start=1):
        key = stage_key(stage, outputs)
        kept = None if stage.always else store.finished(stage, key)
        if kept is not None:
            recorder.event("pipeline.kept", object_id=key, detail={"stage": stage.name})
            result = StageResult(
                stage.name, stage.title, key, "kept", kept["seconds"], kept["outputs"]
            )
        else:
            listener.stage_begins(stage, number, len(plan))
            result = _run_one(stage, key, outputs, _Context(store, recorder, clock))
        outputs[stage.name] = result.outputs
        run.results.append(result)
        listener.stage_ends(result, number, len(plan))
    return run


@dataclass(frozen=True)
class _Context:
    store: StageStore
    recorder: Recorder
    clock: Clock


def _run_one(
    stage: Stage, key: str, outputs: Mapping[str, Outputs], context: _Context
) -> StageResult:
    clock, store = context.clock, context.store
    began = clock.monotonic()
    started = rfc3339(clock.now())
    with context.recorder.action(
        "pipeline.stage", object_id=key, detail={"stage": stage.name}
    ) as act:
        store.begin(stage, key, started)
        try:
            made = stage.run({name: outputs[name] for name in stage.needs})
        except BaseException:
            # An error that was caught is recorded as the action's failure, not as an interruption.
            store.clear()
            raise
        seconds = round(clock.monotonic() - began, 3)
        act.detail["seconds"] = seconds
    store.finish(stage, key, {"outputs": made, "seconds": seconds, "started": started})
    return StageResult(stage.name, stage.title, key, "ran", seconds, made)


def pipeline_status(home: Home) -> dict[str, Any]:
    """Return what is finished, what runs now, and what an earlier run was killed in."""
    store = StageStore(home)
    note = store.interrupted()
    try:
        with pipeline_lock(home):
            running = False
    except BusyError:
        running = True
    finished = [
        {name: record[name] for name in ("stage", "key", "seconds", "started")}
        for record in store.all()
    ]
    return {
        "finished": finished,
        "running": note if running else None,
        "interrupted": None if running else note,
    }
