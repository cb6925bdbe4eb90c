"""A whole run: the stages, the answers about now, the summary and the report."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from appliance import __version__
from appliance.audit.recorder import Recorder
from appliance.core.clock import SystemClock, rfc3339
from appliance.core.durable import os_errors
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.store import DatasetStore
from appliance.evaluation.result import EvaluationResult, EvaluationStore
from appliance.pipeline.graph import Outputs, Stage
from appliance.pipeline.isolation import Isolation
from appliance.pipeline.line import Line
from appliance.pipeline.report import write_reports
from appliance.pipeline.runner import Listener, PipelineRun, require_space, run_stages
from appliance.registry.store import ModelStore
from appliance.training.recipe import Recipe

CURVE_POINTS = 60  # of a training curve in the report: more cannot be told apart


@dataclass(frozen=True)
class Request:
    """What a run is asked to do; see :class:`appliance.pipeline.line.Line` for the fields."""

    recipe: Recipe
    inputs: tuple[Path, ...]
    base: str | None = None
    notes: int = 0
    profile: str = "2x-rtx-5090"
    name: str = "pipeline"


def shipped_inputs() -> tuple[Path, ...]:
    """Return the Portuguese sets that come with the appliance."""
    folder = Path(str(resources.files("appliance.datasets"))) / "data"
    return (folder / "contrastive.pt-BR.jsonl", folder / "harmless.pt-BR.jsonl")


@dataclass(frozen=True)
class Surroundings:
    """Where a run happens and who is told."""

    home: Home
    settings: Settings
    recorder: Recorder
    isolation: Isolation
    listener: Listener


def run_pipeline(
    place: Surroundings, request: Request, serve: Stage | None = None
) -> dict[str, Any]:
    """Run every stage and return the summary (the caller holds the pipeline lock).

    ``serve`` asks the promoted model through the gateway; it belongs to a layer above and is
    handed in. The summary's ``ok`` is true only when the gate said yes, the log verified and
    nothing tried to reach a network.
    """
    home, settings, recorder = place.home, place.settings, place.recorder
    isolation = place.isolation
    require_space(home.root, settings.pipeline.min_free_mb * 1_000_000)
    began, started = time.monotonic(), rfc3339(SystemClock().now())
    line = Line(
        home, settings, recorder, request.recipe, request.inputs, request.base, request.notes
    )
    first = _now("machine", "Check this machine", lambda: check_machine(home, settings, request))
    last = _now("audit", "Verify the audit log", lambda: verify_log(home))
    stages = [first, *line.stages(), *([serve] if serve else []), last]
    run = run_stages(home, stages, recorder, place.listener)
    attempts = isolation.attempts()
    recorder.event("pipeline.offline", detail={"means": isolation.means, "attempts": attempts})
    made = run.outputs()
    summary = _summary(home, request, run, made) | {
        "isolation": {
            "means": isolation.means,
            "detail": isolation.detail,
            "attempts": attempts,
        },
        "started": started,
        "seconds": round(time.monotonic() - began, 2),
    }
    summary["ok"] = bool(summary["gate"]["ok"] and summary["audit"]["ok"] and attempts == 0)
    paths = write_reports(home.reports, request.name, summary)
    summary["reports"] = [str(path) for path in paths]
    return summary


def _now(name: str, title: str, run: Callable[[], Outputs]) -> Stage:
    """Return a stage whose answer is about this moment: it is never kept."""
    return Stage(name, title, lambda _: run(), always=True)


def check_machine(home: Home, settings: Settings, request: Request) -> Outputs:
    """Judge this machine by a profile; one that falls short may still run at toy size."""
    from appliance.hardware.check import CheckRequest, run_check

    result, _ = run_check(CheckRequest(request.profile), settings.hardware, home)
    return result.to_dict()


def verify_log(home: Home) -> Outputs:
    """Read the whole audit log again and say how anyone can do the same."""
    from appliance.audit.layout import shards
    from appliance.audit.verify import Options, verify_home

    report = verify_home(home.audit, Options())
    shard = shards(home.audit)[-1]
    checkpoint = shard.folder / "checkpoint"
    with os_errors(checkpoint):
        text = checkpoint.read_text(encoding="utf-8")
    return {
        "ok": report.ok,
        "size": report.size,
        "root": report.root,
        "problems": [p.to_dict() for p in report.problems],
        "checkpoint": text,
        "vkey": shard.verifier.vkey,
        "command": f"./run appliance --home {home.root} audit verify --json",
    }


def _summary(
    home: Home, request: Request, run: PipelineRun, made: Mapping[str, Outputs]
) -> dict[str, Any]:
    store = EvaluationStore(home)
    before = store.open(made["baseline"]["hash"])
    after = store.open(made["evaluation"]["hash"])
    return {
        "version": __version__,
        "recipe": request.recipe.name,
        "machine": made["machine"],
        "data": {
            "sources": [{"name": k, "records": n} for k, n in made["import"]["kinds"].items()],
            "refused": made["import"]["refused"],
            "entities": made["deid"]["entities"],
            "splits": made["split"]["splits"],
            "checks": made["split"]["checks"],
            "sample": _sample_note(home, made),
        },
        "before": measures(before),
        "after": measures(after),
        "gate": made["gate"],
        "adapter": made["promote"]["promoted"] or f"none promoted: {made['promote']['reason']}",
        "curves": {s: _curve(home, made[s]["hash"]) for s in ("base", "sft", "preference")},
        "answers": made.get("serve", {}).get("answers", []),
        "audit": made["audit"],
        "stages": [
            {
                "name": r.name,
                "title": r.title,
                "key": r.key,
                "status": r.status,
                "seconds": r.seconds,
            }
            for r in run.results
        ],
        "interrupted": run.interrupted,
        "reports": [],
    }


def measures(result: EvaluationResult) -> dict[str, Any]:
    """Return the measures that the summary and the report show."""
    metrics = result.metrics
    pairs = result.items["margins"]
    return {
        "perplexity": metrics["perplexity"],
        "token_accuracy": metrics["token_accuracy"],
        "bits_per_token": metrics["bits_per_token"],
        "bits_per_character": metrics["bits_per_character"],
        "bits_per_byte": metrics["bits_per_byte"],
        "margin_mean": metrics["margin_per_token"]["mean"],
        "margin_positive_share": metrics["positive_margin_share"],
        "over_refusal": metrics["over_refusal"],
        "pairs": len(pairs),
        "margins": [pairs[key]["per_token"] for key in sorted(pairs)],
    }


def _curve(home: Home, model: str) -> list[list[float]]:
    """Return (step, loss) points of a model's training, thinned for drawing."""
    rows = [r for r in ModelStore(home).curve(model) if "loss" in r]
    stride = max(1, len(rows) // CURVE_POINTS)
    return [[r["step"], r["loss"]] for r in rows[::stride]]


def _sample_note(home: Home, made: Mapping[str, Outputs]) -> dict[str, str] | None:
    """Return one synthetic note before and after, so that a person can see what was replaced."""
    if "notes" not in made:
        return None
    store = DatasetStore(home)
    before = _first_note(store, made["import"]["hash"])
    after = _first_note(store, made["deid"]["hash"])
    return {"before": before, "after": after}


def _first_note(store: DatasetStore, version: str) -> str:
    notes = (r for r in store.open(version).iter_records() if r.kind == "note")
    return next((r.context for r in notes), "")
