"""From hash to hash: what the pipeline and the command line call to make models.

Every function is idempotent: the hash of its inputs names its run folder, a finished one returns
the object it made, an interrupted one goes on from its last checkpoint.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.audit.recorder import Recorder
from appliance.core.canonical import sha256_hex, value_hash
from appliance.core.clock import Clock, SystemClock, rfc3339
from appliance.core.durable import os_errors, read_json, write_json
from appliance.core.errors import DatasetNotReadyError, ModelUnknownError, RecipeInvalidError
from appliance.core.home import Home
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings import Settings
from appliance.datasets.prompt import CHAT_TEMPLATE, PROMPT_TEMPLATE_HASH
from appliance.datasets.store import Dataset, DatasetStore
from appliance.registry.manifest import Manifest
from appliance.registry.store import ModelStore
from appliance.training import samples
from appliance.training.environment import Trainer, find_trainer
from appliance.training.recipe import Recipe
from appliance.training.runner import run_stage, starter
from appliance.training.worker.protocol import CHECKPOINTS, OUTPUT_FOLDER, read_metrics

STAGE_FILE = "stage.json"
KEY_CHARS = 24  # of the hash in a folder's name; the whole key is in the stage file
MEASURED = (
    "final_loss",
    "steps",
    "peak_bytes",
    "cpu_seconds",
    "samples",
    "left_out",
    "corpus_tokens",
)


@dataclass(frozen=True)
class Workshop:
    """What every training step needs."""

    home: Home
    settings: Settings
    recorder: Recorder
    progress: Callable[[str], Progress] = field(default=lambda _: NoProgress())
    clock: Clock = field(default_factory=SystemClock)

    @property
    def models(self) -> ModelStore:
        """The registry of the home."""
        return ModelStore(self.home, self.clock)

    @property
    def runs(self) -> Path:
        """Where the run folders of stages are."""
        return self.home.runs / "training"

    def trainer(self) -> Trainer:
        """The trainer environment; raises ``ToolMissingError``."""
        return find_trainer(self.settings.training)

    def dataset(self, content: str) -> Dataset:
        """The dataset version ``content``, verified; one with identifiers is refused."""
        dataset = DatasetStore(self.home).open(content)
        if dataset.manifest.stage == "imported":
            raise DatasetNotReadyError(
                expected="a de-identified dataset version",
                found=f"{dataset.hash}, as it was imported",
            )
        dataset.verify()
        return dataset


@dataclass(frozen=True)
class StagePlan:
    """One stage, ready to run: its name, what it depends on, its job and its files."""

    stage: str
    inputs: dict[str, str]
    job: dict[str, Any]
    rows: Callable[[Path], None]

    @property
    def key(self) -> str:
        """The hash of everything the result depends on."""
        return value_hash({"stage": self.stage, "inputs": self.inputs, "format": 1})


def build_demo_base(shop: Workshop, dataset_hash: str, recipe: Recipe) -> str:
    """Train the toy base of ``recipe`` on the train split; return the base's hash.

    Raises:
        RecipeInvalidError: the recipe trains no base.
    """
    toy = recipe.base
    if toy is None:
        raise RecipeInvalidError(
            expected="a recipe with a toy base", found=f"{recipe.name}, which tunes an imported one"
        )
    dataset = shop.dataset(dataset_hash)

    def rows(run: Path) -> None:
        found = samples.corpus_rows(samples.train_records(dataset))
        samples.write_rows(run / "corpus.jsonl", found, what="text")

    plan = StagePlan(
        "base",
        {
            "dataset": dataset.hash,
            "recipe": recipe.part_hash("base", "seed"),
            "prompt": PROMPT_TEMPLATE_HASH,
        },
        {"part": toy.model_dump(mode="json"), "template": CHAT_TEMPLATE},
        rows,
    )
    shape: dict[str, Any] = {"architecture": "LlamaForCausalLM", **toy.model_dump(mode="json")}
    return _stage(
        shop,
        plan,
        recipe,
        {
            "kind": "base",
            "name": f"toy base of recipe {recipe.name}",
            "licence": dataset.manifest.licence or "as its dataset",
            "source": "trained from scratch on this appliance: toy weights for demonstration",
            "shape": shape,
            "links": {"dataset": dataset.hash, "recipe": recipe.hash},
            "chat_template_sha256": sha256_hex(CHAT_TEMPLATE.encode()),
        },
    )


def sft(shop: Workshop, base: str, dataset_hash: str, recipe: Recipe) -> str:
    """Train a new adapter on answers (supervised stage); return the adapter's hash."""
    dataset = shop.dataset(dataset_hash)
    limit, seed = recipe.sft.max_samples, recipe.seed

    def rows(run: Path) -> None:
        found = samples.sft_rows(samples.train_records(dataset), limit, seed)
        samples.write_rows(run / "samples.jsonl", found, what="questions with answers")

    return _tune(shop, "sft", base, recipe, _Material(dataset, rows))


def preference(
    shop: Workshop, base: str, dataset_hash: str, recipe: Recipe, sft_adapter: str
) -> str:
    """Go on with ``sft_adapter`` on pairs of answers; return the new adapter's hash."""
    dataset = shop.dataset(dataset_hash)
    before = shop.models.verify(sft_adapter)
    limit, seed = recipe.preference.max_samples, recipe.seed

    def rows(run: Path) -> None:
        found = samples.preference_rows(samples.train_records(dataset), limit, seed)
        samples.write_rows(run / "samples.jsonl", found, what="pairs of answers")

    return _tune(shop, "preference", base, recipe, _Material(dataset, rows, before))


def train_adapter(shop: Workshop, base: str, dataset_hash: str, recipe: Recipe) -> str:
    """Run both stages; return the hash of the adapter after the preference stage."""
    first = sft(shop, base, dataset_hash, recipe)
    return preference(shop, base, dataset_hash, recipe, first)


@dataclass(frozen=True)
class _Material:
    """What a stage learns from: a dataset, how to write its rows, the adapter to go on with."""

    dataset: Dataset
    rows: Callable[[Path], None]
    before: Manifest | None = None


def _tune(shop: Workshop, stage: str, base: str, recipe: Recipe, material: _Material) -> str:
    dataset, before = material.dataset, material.before
    manifest = shop.models.verify(base)
    if manifest.kind != "base" or manifest.chat_template_sha256 is None:
        raise ModelUnknownError(
            expected="the hash of a base model in Hugging Face form",
            found=f"{manifest.kind} {manifest.hash}",
            remedy="Training needs safetensors: import the model's folder, not its GGUF file.",
        )
    links = {"base": manifest.hash, "dataset": dataset.hash}
    if before is not None:
        links["adapter"] = before.hash
    plan = StagePlan(
        stage,
        links | {"recipe": recipe.part_hash("lora", stage, "seed"), "prompt": PROMPT_TEMPLATE_HASH},
        {
            "part": getattr(recipe, stage).model_dump(mode="json"),
            "lora": recipe.lora.model_dump(mode="json"),
            "base": str(shop.models.files(manifest.hash)),
            "base_hash": manifest.hash,
            "adapter": str(shop.models.files(before.hash)) if before else None,
            "template_sha256": manifest.chat_template_sha256,
        },
        material.rows,
    )
    return _stage(
        shop,
        plan,
        recipe,
        {
            "kind": "adapter",
            "name": f"{stage} of recipe {recipe.name}",
            "licence": f"as its base ({manifest.licence})"[:200],
            "source": "trained on this appliance",
            "shape": {"rank": recipe.lora.rank, "alpha": recipe.lora.alpha, "stage": stage},
            "links": links | {"recipe": recipe.hash},
            "chat_template_sha256": manifest.chat_template_sha256,
        },
    )


def _stage(shop: Workshop, plan: StagePlan, recipe: Recipe, fields: dict[str, Any]) -> str:
    """Run ``plan`` unless its object exists; put its output into the registry."""
    run = shop.runs / f"{plan.stage}-{plan.key[:KEY_CHARS]}"
    record = {
        "stage": plan.stage,
        "key": plan.key,
        "recipe": recipe.name,
        "inputs": plan.inputs,
        "started": rfc3339(shop.clock.now()),
        "object": None,
    }
    if (run / STAGE_FILE).is_file():
        record = read_json(run / STAGE_FILE)
        made = record["object"]
        if made is not None and _is_there(shop.models, made):
            return str(made)
        record["object"] = None
    with shop.recorder.action(
        f"train.{plan.stage}", object_id=plan.key, detail={"run": run.name, **plan.inputs}
    ) as act:
        shop.models.keep_recipe(recipe.model_dump(mode="json"))
        with os_errors(run):
            run.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(run / STAGE_FILE, record)
        plan.rows(run)
        began = shop.clock.monotonic()
        job = {
            "stage": plan.stage,
            "seed": recipe.seed,
            "threads": shop.settings.training.threads,
            **plan.job,
        }
        settings = shop.settings.training
        progress = shop.progress(f"train {plan.stage}")
        act.detail["runner"] = settings.runner
        if settings.runner == "container":
            act.detail["image"] = settings.image
        result = run_stage(run, job, starter(settings), settings, progress)
        seconds = round(shop.clock.monotonic() - began, 3)
        made = _keep(shop, run, result, fields, seconds)
        act.detail.update(object=made, seconds=seconds, **_measured(result))
        write_json(run / STAGE_FILE, record | {"object": made})
    _tidy(run)
    return made


def _is_there(models: ModelStore, content: str) -> bool:
    try:
        models.get(content)
    except ModelUnknownError:
        return False
    return True


def _measured(result: dict[str, Any]) -> dict[str, float]:
    return {k: float(result[k]) for k in MEASURED if k in result}


def _keep(
    shop: Workshop, run: Path, result: dict[str, Any], fields: dict[str, Any], seconds: float
) -> str:
    """Copy the output into the registry: the run's own stays until the object is whole."""
    extra = {k: result[k] for k in ("parameters", "trained_parameters") if k in result}
    described = fields | {
        "shape": fields["shape"] | extra,
        "versions": result["versions"],
        "measured": _measured(result) | {"seconds": seconds},
    }
    with shop.models.staging() as staging:
        with os_errors(run):
            shutil.copytree(run / OUTPUT_FOLDER, staging / "files")
        manifest = shop.models.add(described.pop("kind"), staging / "files", **described)
    shop.models.attach_curve(manifest.hash, list(read_metrics(run)))
    return manifest.hash


def _tidy(run: Path) -> None:
    """Remove what only an unfinished stage needs; the samples too, they stay in the dataset."""
    for name in (CHECKPOINTS, OUTPUT_FOLDER, "cache", "unsloth_compiled_cache"):
        shutil.rmtree(run / name, ignore_errors=True)
    for name in ("samples.jsonl", "corpus.jsonl", "result.json"):
        (run / name).unlink(missing_ok=True)
