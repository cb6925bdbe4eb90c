"""The production line: what each stage of the pipeline does, from records to an answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.audit.recorder import Recorder
from appliance.core.canonical import file_hash, value_hash
from appliance.core.durable import os_errors, write_bytes
from appliance.core.errors import (
    DatasetMissingError,
    EvaluationMissingError,
    GateRefusedError,
    ModelUnknownError,
    SplitImpossibleError,
)
from appliance.core.home import Home
from appliance.core.progress import StderrProgress
from appliance.core.settings import Settings
from appliance.core.settings.evaluation import EvaluationSettings
from appliance.datasets.store import DatasetStore
from appliance.evaluation.result import EvaluationStore
from appliance.pipeline.graph import Outputs, Stage
from appliance.registry.store import ModelStore
from appliance.training.recipe import Recipe
from appliance.training.service import Workshop

Inputs = Mapping[str, Outputs]
WAITS = "waits for a second person"
_Row = tuple[str, Callable[[Inputs], Outputs], tuple[str, ...], dict[str, Any]]

# stage -> (its title, what its outputs name)
TITLES = {
    "notes": ("Write synthetic clinical notes", "notes"),
    "import": ("Import the records", "dataset"),
    "deid": ("Replace identifiers", "dataset"),
    "split": ("Split, and look for leaks", "dataset"),
    "base": ("Make the base model", "model"),
    "base_gguf": ("Convert the base to GGUF", "model"),
    "baseline": ("Measure the base alone", "evaluation"),
    "sft": ("Train on answers", "model"),
    "preference": ("Train on pairs, safe against forbidden", "model"),
    "adapter_gguf": ("Convert the adapter to GGUF", "model"),
    "evaluation": ("Measure with the adapter", "evaluation"),
    "gate": ("Decide: better, and not worse elsewhere?", "decision"),
    "promote": ("Promote the adapter", "promotion"),
}


@dataclass(frozen=True)
class Line:
    """What the stages share.

    ``inputs`` are the files to import; ``base`` is the hash of an imported base model, or None
    when the recipe trains a toy one; ``notes`` is how many synthetic notes join (0: none).
    """

    home: Home
    settings: Settings
    recorder: Recorder
    recipe: Recipe
    inputs: tuple[Path, ...]
    base: str | None = None
    notes: int = 0
    workshop: Workshop = field(init=False)

    def __post_init__(self) -> None:
        """Open the workshop on the same home."""
        object.__setattr__(
            self,
            "workshop",
            Workshop(self.home, self.settings, self.recorder, progress=StderrProgress),
        )

    @property
    def measuring(self) -> EvaluationSettings:
        """How models are measured: the settings, with the recipe's number of records."""
        wanted = self.recipe.evaluation_records
        update = {} if wanted is None else {"max_records": wanted}
        return self.settings.evaluation.model_copy(update=update)

    # Data

    def write_notes(self, _: Inputs) -> Outputs:
        """Write synthetic clinical notes with planted identifiers, one file a note."""
        from appliance.deid.synthetic import notes

        folder = self.home.records / "synthetic-notes"
        names = {}
        for number, note in enumerate(notes(self.notes, seed=self.recipe.seed, unlabelled=False)):
            path = folder / f"note-{number:04}.txt"
            write_bytes(path, note.text.encode("utf-8"), mode=0o600)
            names[path.name] = file_hash(path)
        return {"folder": str(folder), "count": self.notes, "files": value_hash(names)}

    def import_records(self, made: Inputs) -> Outputs:
        """Import the files as one dataset version."""
        from appliance.datasets.service import ImportOptions, import_files

        paths = list(self.inputs)
        if "notes" in made:
            paths.append(Path(made["notes"]["folder"]))
        result = import_files(
            self.home,
            self.settings,
            paths,
            self.recorder,
            ImportOptions(progress=StderrProgress("import")),
        )
        kinds = DatasetStore(self.home).open(result.hash).manifest.kinds
        return {"hash": result.hash, "kinds": dict(kinds), "refused": result.refused}

    def deidentify(self, made: Inputs) -> Outputs:
        """Replace identifiers; nothing later reads the records as they came."""
        from appliance.datasets.service import deidentify

        result = deidentify(
            self.home,
            self.settings,
            made["import"]["hash"],
            self.recorder,
            StderrProgress("de-identify"),
        )
        return {"hash": result.hash, "entities": dict(result.entities)}

    def split(self, made: Inputs) -> Outputs:
        """Split by group, then look for near-duplicates across the parts."""
        from appliance.datasets.service import check, split

        result = split(self.home, self.settings, made["deid"]["hash"], self.recorder)
        report = check(self.home, self.settings, result.hash)
        if not report.ok:
            unfit = [f"{c.name} ({c.detail})" for c in report.checks if c.must and not c.ok]
            raise SplitImpossibleError(
                expected="a dataset that is fit to train on",
                found="; ".join(unfit),
                remedy=f"See `appliance data check --dataset {result.hash}` for each point.",
            )
        checks = [c.to_dict() for c in report.checks]
        return {"hash": result.hash, "splits": dict(result.splits), "checks": checks}

    # Models

    def base_model(self, made: Inputs) -> Outputs:
        """Train the toy base from scratch, or name the imported one."""
        from appliance.training.service import build_demo_base

        if self.base is not None:
            return {"hash": ModelStore(self.home).verify(self.base).hash}
        return {"hash": build_demo_base(self.workshop, made["split"]["hash"], self.recipe)}

    def base_gguf(self, made: Inputs) -> Outputs:
        """Convert the base to GGUF with the carried converter."""
        from appliance.training.convert import convert_base

        return {"hash": convert_base(self.workshop, made["base"]["hash"])}

    def sft(self, made: Inputs) -> Outputs:
        """Train an adapter on answers."""
        from appliance.training.service import sft

        base, dataset = made["base"]["hash"], made["split"]["hash"]
        return {"hash": sft(self.workshop, base, dataset, self.recipe)}

    def preference(self, made: Inputs) -> Outputs:
        """Go on with the adapter on pairs of a safe and a forbidden answer."""
        from appliance.training.service import preference

        base, dataset = made["base"]["hash"], made["split"]["hash"]
        adapter = made["sft"]["hash"]
        return {"hash": preference(self.workshop, base, dataset, self.recipe, adapter)}

    def adapter_gguf(self, made: Inputs) -> Outputs:
        """Convert the adapter to a GGUF LoRA."""
        from appliance.training.convert import convert_adapter

        return {"hash": convert_adapter(self.workshop, made["preference"]["hash"])}

    # Judgement

    def baseline(self, made: Inputs) -> Outputs:
        """Measure the base alone, before any tuning."""
        return self._evaluate(made["base_gguf"]["hash"], made["split"]["hash"])

    def evaluation(self, made: Inputs) -> Outputs:
        """Measure the base with the adapter."""
        return self._evaluate(made["adapter_gguf"]["hash"], made["split"]["hash"])

    def _evaluate(self, gguf: str, dataset: str) -> Outputs:
        from appliance.evaluation.service import HeldOut, evaluate_model
        from appliance.inference.registered import open_embedded, registered
        from appliance.inference.scoring import DialogueScorer

        what = registered(ModelStore(self.home), gguf)
        detail: dict[str, str | int | float | bool | None] = {"dataset": dataset, "split": "test"}
        with self.recorder.action("model.evaluate", object_id=what.hash, detail=detail) as act:
            engine = open_embedded(what, self.settings.inference)
            try:
                result = evaluate_model(
                    self.home,
                    DialogueScorer(engine),
                    HeldOut(dataset),
                    self.measuring,
                    StderrProgress("evaluate"),
                )
            finally:
                engine.close()
            act.detail["evaluation"] = result.hash
        return {"hash": result.hash}

    def gate(self, made: Inputs) -> Outputs:
        """Decide whether the adapter may be promoted."""
        from appliance.evaluation.gate import decide

        store = EvaluationStore(self.home)
        before = store.open(made["baseline"]["hash"])
        after = store.open(made["evaluation"]["hash"])
        decision: Outputs = decide(before, after, self.recipe.gate).to_dict()
        return decision

    def promote(self, made: Inputs) -> Outputs:
        """Put the adapter into service when the gate said yes; a refusal is recorded too.

        With four eyes asked for, the line stops here: a second person approves, then `appliance
        models promote` (or this command again) puts it into service.
        """
        from appliance.registry.promotionlog import AuditPromotionLog
        from appliance.registry.promotions import Approval, Promotions, Verdict, promote

        gguf, gate = made["adapter_gguf"]["hash"], made["gate"]
        if gate["ok"]:
            current = Promotions(AuditPromotionLog(self.home)).current()
            if current is not None and current.hash == gguf:
                return {"promoted": gguf, "reason": ""}
            if self.settings.registry.approval == "four_eyes":
                return {"promoted": None, "reason": WAITS}
        reasons = tuple(c["name"] for c in gate["checks"] if not c["ok"])
        verdict = Verdict(made["evaluation"]["hash"], gguf, bool(gate["ok"]), reasons)
        try:
            promote(ModelStore(self.home), gguf, verdict, self.recorder, Approval())
        except GateRefusedError:
            return {"promoted": None, "reason": "the gate said no"}
        return {"promoted": gguf, "reason": ""}

    # The graph

    def stages(self) -> list[Stage]:
        """Return the stages up to the promotion; what answers about now is added by the run."""
        recipe = self.recipe
        sources = {path.name: _content(path) for path in self.inputs}
        notes = {"count": self.notes, "seed": recipe.seed}
        base = {"imported": self.base} if self.base else recipe.base and recipe.base.model_dump()
        evaluation = self.measuring.model_dump(mode="json")
        gate = recipe.gate.model_dump(mode="json")
        tuning = {"seed": recipe.seed, "lora": recipe.lora.model_dump(mode="json")}
        data = {"datasets": self.settings.datasets.model_dump(mode="json")}
        approval = {"approval": self.settings.registry.approval}
        deid = {"deid": self.settings.deid.model_dump(mode="json")}
        there = {
            "dataset": self._has_dataset,
            "model": self._has_model,
            "evaluation": self._has_evaluation,
            "notes": _has_notes,
            "promotion": lambda outputs: outputs["reason"] != WAITS,
        }
        rows: list[_Row] = [
            ("import", self.import_records, ("notes",) if self.notes else (), sources | data),
            ("deid", self.deidentify, ("import",), deid),
            ("split", self.split, ("deid",), data),
            ("base", self.base_model, ("split",), {"base": base, "seed": recipe.seed}),
            ("base_gguf", self.base_gguf, ("base",), {}),
            ("baseline", self.baseline, ("base_gguf", "split"), evaluation),
            ("sft", self.sft, ("base", "split"), tuning | _dumped(recipe, "sft")),
            (
                "preference",
                self.preference,
                ("base", "split", "sft"),
                tuning | _dumped(recipe, "preference"),
            ),
            ("adapter_gguf", self.adapter_gguf, ("preference",), {}),
            ("evaluation", self.evaluation, ("adapter_gguf", "split"), evaluation),
            ("gate", self.gate, ("baseline", "evaluation"), gate),
            ("promote", self.promote, ("adapter_gguf", "evaluation", "gate"), approval),
        ]
        if self.notes:
            rows.insert(0, ("notes", self.write_notes, (), notes))
        return [
            Stage(
                name,
                TITLES[name][0],
                run,
                needs,
                params,
                present=there.get(TITLES[name][1], _always_there),
            )
            for name, run, needs, params in rows
        ]

    def _has_dataset(self, outputs: Outputs) -> bool:
        try:
            DatasetStore(self.home).open(outputs["hash"])
        except DatasetMissingError:
            return False
        return True

    def _has_model(self, outputs: Outputs) -> bool:
        try:
            ModelStore(self.home).get(outputs["hash"])
        except ModelUnknownError:
            return False
        return True

    def _has_evaluation(self, outputs: Outputs) -> bool:
        try:
            EvaluationStore(self.home).open(outputs["hash"])
        except EvaluationMissingError:
            return False
        return True


def _always_there(_: Outputs) -> bool:
    return True


def _dumped(recipe: Recipe, part: str) -> dict[str, Any]:
    return {part: getattr(recipe, part).model_dump(mode="json")}


def _has_notes(outputs: Outputs) -> bool:
    folder = Path(outputs["folder"])
    files = {p.name: file_hash(p) for p in sorted(folder.glob("note-*.txt"))}
    return value_hash(files) == str(outputs["files"])


def _content(path: Path) -> str:
    """Return the hash of a file, or of the names and hashes of a folder's files."""
    with os_errors(path):
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            return value_hash({p.relative_to(path).as_posix(): file_hash(p) for p in files})
        return file_hash(path)
