"""``appliance evaluate``: measure, compare and report models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.evaluation.result import EvaluationResult

SHORT = 12  # characters of a hash that a table shows


@click.group()
def evaluate() -> None:
    """Measure, compare and report models."""


@evaluate.command()
@click.option("--model", required=True, help="Hash of the base GGUF (or of an adapter's GGUF).")
@click.option("--adapter", help="Hash of the adapter's GGUF; it must be made for --model.")
@click.option("--dataset", required=True, help="Hash of the dataset version.")
@click.option(
    "--split",
    type=click.Choice(["test", "validation", "train"]),
    default="test",
    show_default=True,
    help="The records to measure on.",
)
@json_option
@click.pass_context
def run(
    ctx: click.Context, *, model: str, adapter: str | None, dataset: str, split: str, as_json: bool
) -> int:
    """Measure a model on held-out records and store the result by its hash."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.errors import EvaluationImpossibleError
    from appliance.core.progress import StderrProgress
    from appliance.evaluation.service import HeldOut, evaluate_model
    from appliance.inference.registered import open_embedded, registered
    from appliance.inference.scoring import DialogueScorer
    from appliance.registry.store import ModelStore

    home = get_home(ctx)
    settings = get_settings(home)
    store = ModelStore(home)
    what = registered(store, adapter or model)
    base = store.get(model).hash
    if adapter and what.files.base_hash != base:
        raise EvaluationImpossibleError(
            expected=f"an adapter made for {base}", found=f"one for {what.files.base_hash}"
        )
    detail = {"dataset": dataset, "split": split}
    with (
        open_recorder(home, "evaluation") as recorder,
        recorder.action("model.evaluate", object_id=what.hash, detail=detail) as act,
    ):
        engine = open_embedded(what, settings.inference)
        try:
            result = evaluate_model(
                home,
                DialogueScorer(engine),
                HeldOut(dataset, split),
                settings.evaluation,
                StderrProgress("evaluate"),
            )
        finally:
            engine.close()
        act.detail["evaluation"] = result.hash
    emit(result.model_dump(mode="json"), as_json=as_json, text=lambda: _show([result]))
    return answer(ok=True)


@evaluate.command()
@click.argument("before")
@click.argument("after")
@click.option("--gate", "recipe", help="Also decide by the thresholds of this recipe.")
@json_option
@click.pass_context
def compare(ctx: click.Context, before: str, after: str, recipe: str | None, as_json: bool) -> int:
    """Show two evaluations side by side; with --gate, answer whether AFTER may be promoted."""
    from appliance.evaluation.compare import compare as compare_results
    from appliance.evaluation.gate import decide
    from appliance.evaluation.result import EvaluationStore

    home = get_home(ctx)
    store = EvaluationStore(home)
    old, new = store.open(before), store.open(after)
    value = compare_results(old, new, get_settings(home).evaluation)
    ok = True
    if recipe:
        from appliance.training.recipe import load_recipe

        decision = decide(old, new, load_recipe(recipe).gate)
        value |= {"gate": decision.to_dict()}
        ok = decision.ok
    emit({"ok": ok, **value}, as_json=as_json, text=lambda: _compared(value))
    return answer(ok)


@evaluate.command()
@click.argument("hashes", nargs=-1)
@json_option
@click.pass_context
def report(ctx: click.Context, hashes: tuple[str, ...], as_json: bool) -> int:
    """Show evaluations, or list all of them."""
    from appliance.evaluation.result import EvaluationStore

    store = EvaluationStore(get_home(ctx))
    results = [store.open(h) for h in hashes] if hashes else store.all()
    value = {"evaluations": [r.model_dump(mode="json") for r in results]}
    emit(value, as_json=as_json, text=lambda: _show(results) if results else "No evaluations yet.")
    return answer(ok=True)


def _show(results: list[EvaluationResult]) -> str:
    from appliance.evaluation.compare import MEASURES, value_at

    heads = [r.hash[:SHORT] for r in results]
    rows: list[list[str]] = [
        ["model", *(r.subject.model[:SHORT] for r in results)],
        ["adapter", *(r.subject.adapter[:SHORT] or "-" for r in results)],
        ["dataset", *(f"{r.dataset[:SHORT]} {r.split}" for r in results)],
    ]
    for name, path, _ in MEASURES:
        values = [value_at(r.metrics, path) for r in results]
        if any(v is not None for v in values):
            rows.append([name, *("-" if v is None else f"{v:.4f}" for v in values)])
    return _table(["evaluation", *heads], rows)


def _compared(value: dict[str, Any]) -> str:
    def number(found: float | None, form: str = ".4f") -> str:
        return "-" if found is None else format(found, form)

    words = {True: "better", False: "worse", None: ""}
    rows = [
        [
            row["name"],
            number(row["before"]),
            number(row["after"]),
            number(row["change"], "+.4f"),
            words[row["better"]],
        ]
        for row in value["rows"]
    ]
    lines = [_table(["measure", "before", "after", "change", ""], rows)]
    if "margin_gain" in value:
        gain = value["margin_gain"]
        lines.append(
            f"margin gain, paired: {gain['mean']:+.4f} nats per token "
            f"[{gain['low']:+.4f}, {gain['high']:+.4f}] over {gain['items']} pairs"
        )
    for check in value.get("gate", {}).get("checks", []):
        mark = "holds" if check["ok"] else "FAILS"
        lines.append(f"{mark:5} {check['name']}: {check['found']} ({check['expected']})")
    return "\n".join(lines)


def _table(head: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in [head, *rows]
    ]
    return "\n".join(lines)
