"""``appliance models``: import, list, convert, promote and roll back models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.core.errors import ApplianceError
    from appliance.core.home import Home
    from appliance.registry.promotions import Approval, Verdict
    from appliance.registry.store import ModelStore

SHORT = 12  # characters of a hash that a table shows


@click.group()
def models() -> None:
    """Import, list, promote and roll back models."""


@models.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--licence", required=True, help="The licence of the weights (SPDX identifier).")
@click.option("--name", default="", help="A name for people.")
@json_option
@click.pass_context
def import_(ctx: click.Context, *, source: Path, licence: str, name: str, as_json: bool) -> int:
    """Take in real weights: a Hugging Face folder (safetensors) or a GGUF file."""
    from appliance.audit.recorder import open_recorder
    from appliance.registry.importing import import_model
    from appliance.registry.store import ModelStore

    home = get_home(ctx)
    limits = get_settings(home).registry
    with (
        open_recorder(home, "registry") as recorder,
        recorder.action("models.import", detail={"licence": licence[:80]}) as act,
    ):
        made = import_model(ModelStore(home), source, licence=licence, limits=limits, name=name)
        act.detail.update(object=made.hash, kind=made.kind, bytes=made.bytes)
    emit(made.model_dump(mode="json"), as_json=as_json, text=f"{made.kind} {made.hash}")
    return 0


@models.command()
@click.option("--dataset", required=True, help="Hash of a de-identified dataset version.")
@click.option("--recipe", default="demo", show_default=True, help="A shipped recipe, or a file.")
@json_option
@click.pass_context
def demo(ctx: click.Context, *, dataset: str, recipe: str, as_json: bool) -> int:
    """Train the toy base model here, from scratch, and convert it to GGUF."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.progress import StderrProgress
    from appliance.training.convert import convert_base
    from appliance.training.recipe import load_recipe
    from appliance.training.service import Workshop, build_demo_base

    home = get_home(ctx)
    with open_recorder(home, "training") as recorder:
        shop = Workshop(home, get_settings(home), recorder, StderrProgress)
        base = build_demo_base(shop, dataset, load_recipe(recipe))
        gguf = convert_base(shop, base)
    found = {"ok": True, "base": base, "base_gguf": gguf}
    emit(found, as_json=as_json, text=f"base      {base}\nbase_gguf {gguf}")
    return 0


@models.command()
@click.argument("content")
@click.option(
    "--quantise",
    type=click.Choice(["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]),
    help="Also quantise the base's GGUF to this type.",
)
@json_option
@click.pass_context
def convert(ctx: click.Context, *, content: str, quantise: str | None, as_json: bool) -> int:
    """Convert a base or an adapter to GGUF, offline."""
    from appliance.audit.recorder import open_recorder
    from appliance.training import convert as converter
    from appliance.training import quantise as quantiser
    from appliance.training.service import Workshop

    home = get_home(ctx)
    with open_recorder(home, "training") as recorder:
        shop = Workshop(home, get_settings(home), recorder)
        kind = shop.models.get(content).kind
        if kind == "adapter":
            made = converter.convert_adapter(shop, content)
        else:
            made = converter.convert_base(shop, content) if kind == "base" else content
            made = quantiser.quantise(shop, made, quantise) if quantise else made
    emit({"ok": True, "gguf": made}, as_json=as_json, text=made)
    return 0


@models.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> int:
    """List every model, adapter and GGUF file, and which one is promoted."""
    from appliance.registry.store import ModelStore

    home = get_home(ctx, prepare=False)
    current = _promotions(home).current()
    promoted = current.hash if current else None
    found = [m.summary() | {"promoted": m.hash == promoted} for m in ModelStore(home).list()]
    rows = [
        f"{'*' if m['promoted'] else ' '} {m['kind']:<8}{m['hash'][:SHORT]}  "
        f"{m['bytes']:>13,} B  {m['name']}"
        for m in found
    ]
    emit(
        {"models": found, "promoted": promoted},
        as_json=as_json,
        text="\n".join(rows) or "no models yet",
    )
    return 0


@models.command()
@click.argument("content")
@json_option
@click.pass_context
def lineage(ctx: click.Context, *, content: str, as_json: bool) -> int:
    """Show what an object was made from, origin first, and its promotions."""
    from appliance.registry.lineage import lineage as chain_of
    from appliance.registry.store import ModelStore

    home = get_home(ctx, prepare=False)
    chain = chain_of(ModelStore(home), content, _promotions(home).history())
    rows = [f"{s['kind']:<10}{s['hash'][:SHORT]}  {s.get('name', s.get('how', ''))}" for s in chain]
    emit({"lineage": chain}, as_json=as_json, text="\n".join(rows))
    return 0


def _judged(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--baseline", required=True, help="Hash of the evaluation of its base alone."),
        click.option("--evaluation", required=True, help="Hash of the evaluation of this model."),
        click.argument("content"),
    ):
        command = option(command)
    return command


@models.command()
@_judged
@json_option
@click.pass_context
def approve(
    ctx: click.Context, *, content: str, evaluation: str, baseline: str, as_json: bool
) -> int:
    """Agree, as a second person, to a promotion (exit code 1: the gate says no)."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.errors import GateRefusedError
    from appliance.registry import promotions
    from appliance.registry.store import ModelStore

    home = get_home(ctx)
    store = ModelStore(home)
    verdict = _verdict(home, store, content, evaluation, baseline)
    with open_recorder(home, "registry") as recorder:
        try:
            made = promotions.approve(store, content, verdict, recorder)
        except GateRefusedError as error:
            return _no(error, "not approved", as_json=as_json)
    emit({"ok": True, "approved": made}, as_json=as_json, text=f"approved {made}")
    return 0


@models.command()
@_judged
@json_option
@click.pass_context
def promote(
    ctx: click.Context, *, content: str, evaluation: str, baseline: str, as_json: bool
) -> int:
    """Put a model into service if its recipe's gate lets it (exit code 1: it does not)."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.errors import ApprovalMissingError, GateRefusedError
    from appliance.registry import promotions
    from appliance.registry.store import ModelStore

    home = get_home(ctx)
    store = ModelStore(home)
    verdict = _verdict(home, store, content, evaluation, baseline)
    with open_recorder(home, "registry") as recorder:
        approval = _approval(home, store.get(content).hash, verdict.hash)
        try:
            made = promotions.promote(store, content, verdict, recorder, approval)
        except (GateRefusedError, ApprovalMissingError) as error:
            return _no(error, "not promoted", as_json=as_json)
    note = "" if approval.mode == "four_eyes" else " (demo mode: one person decided)"
    found = {"ok": True, "promoted": made, "approval": approval.mode}
    emit(found, as_json=as_json, text=f"promoted {made}{note}")
    return 0


def _no(error: ApplianceError, what: str, *, as_json: bool) -> int:
    text = f"{what}: {error.found}\n{error.todo}"
    emit({"ok": False, "error": error.to_dict()}, as_json=as_json, text=text)
    return answer(ok=False)


@models.command()
@json_option
@click.pass_context
def rollback(ctx: click.Context, *, as_json: bool) -> int:
    """Put the model that was promoted before back into service."""
    from appliance.audit.recorder import open_recorder
    from appliance.registry import promotions
    from appliance.registry.promotions import Approval
    from appliance.registry.store import ModelStore

    home = get_home(ctx)
    approval = Approval(get_settings(home).registry.approval)
    with open_recorder(home, "registry") as recorder:
        made = promotions.rollback(ModelStore(home), _promotions(home), recorder, approval)
    emit({"ok": True, "promoted": made}, as_json=as_json, text=f"promoted again: {made}")
    return 0


def _promotions(home: Home) -> Any:
    from appliance.registry.promotionlog import AuditPromotionLog
    from appliance.registry.promotions import Promotions

    return Promotions(AuditPromotionLog(home))


def _approval(home: Home, content: str, evaluation: str) -> Approval:
    import os

    from appliance.audit.recorder import operating_user
    from appliance.registry.promotionlog import AuditPromotionLog
    from appliance.registry.promotions import Approval, find_approver

    mode = get_settings(home).registry.approval
    if mode == "demo":
        return Approval(mode)
    requester = (operating_user(), os.getuid())
    return Approval(mode, find_approver(AuditPromotionLog(home), content, evaluation, requester))


def _verdict(
    home: Home, store: ModelStore, content: str, evaluation: str, baseline: str
) -> Verdict:
    """Let the gate of the model's own recipe decide over the two named evaluations."""
    from appliance.evaluation.gate import decide
    from appliance.evaluation.result import EvaluationStore
    from appliance.registry.gate import GateThresholds
    from appliance.registry.promotions import Verdict

    results = EvaluationStore(home)
    after, before = results.open(evaluation), results.open(baseline)
    recipe = store.recipe_of(content)
    thresholds = GateThresholds.model_validate(recipe["gate"] if recipe else {})
    decision = decide(before, after, thresholds)
    return Verdict(after.hash, after.subject.served_hash, decision.ok, decision.reasons)
