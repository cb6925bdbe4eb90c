"""``appliance train``: plan, run and watch training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.training.service import Workshop

SHORT = 12  # characters of a hash that a table shows
MIB = 2**20


@click.group()
def train() -> None:
    """Plan, run and watch training."""


def _inputs(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--base", help="Hash of the base model; a toy recipe trains its own."),
        click.option("--dataset", required=True, help="Hash of a de-identified dataset version."),
        click.option(
            "--recipe", default="demo", show_default=True, help="A shipped recipe, or a file."
        ),
    ):
        command = option(command)
    return command


@train.command()
@_inputs
@json_option
@click.pass_context
def plan(ctx: click.Context, *, base: str | None, dataset: str, recipe: str, as_json: bool) -> int:
    """Say what a training would need, and whether this machine has it (exit code 1: no)."""
    from appliance.audit.memory import MemoryRecorder
    from appliance.training.forecast import forecast
    from appliance.training.recipe import load_recipe
    from appliance.training.service import Workshop

    home = get_home(ctx)
    # Nothing is changed and nothing is read but counts, so nothing is recorded.
    shop = Workshop(home, get_settings(home), MemoryRecorder("train"))
    found = forecast(shop, load_recipe(recipe), dataset, base)
    rows = [
        f"{s['stage']:<11} {s['steps']:>7} steps {s['memory_bytes'] / MIB:>8.0f} MiB  {_time(s)}"
        for s in found["stages"]
    ]
    verdict = "fits" if found["ok"] else "does not fit"
    rows.append(
        f"{verdict}: {found['device']} has {found['memory_bytes'] / MIB:.0f} MiB free, "
        f"{found['needed_bytes'] / MIB:.0f} MiB are needed at most"
    )
    emit(found, as_json=as_json, text="\n".join(rows))
    return answer(found["ok"])


def _time(stage: dict[str, Any]) -> str:
    if stage["measured_seconds"] is not None:
        return f"{stage['measured_seconds']:.0f} s when it ran here"
    return f"about {stage['seconds']:.0f} s" if stage["seconds"] else "time unknown"


@train.command()
@_inputs
@json_option
@click.pass_context
def run(ctx: click.Context, *, base: str | None, dataset: str, recipe: str, as_json: bool) -> int:
    """Train an adapter and convert it to GGUF; the same command goes on after a stop."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.errors import ModelUnknownError
    from appliance.core.progress import StderrProgress
    from appliance.training.convert import convert_adapter
    from appliance.training.recipe import load_recipe
    from appliance.training.service import Workshop, build_demo_base, train_adapter

    home = get_home(ctx)
    loaded = load_recipe(recipe)
    if base is None and loaded.base is None:
        raise ModelUnknownError(
            expected="--base with the hash of a base model", found=f"none for recipe {loaded.name}"
        )
    with open_recorder(home, "training") as recorder:
        shop = Workshop(home, get_settings(home), recorder, StderrProgress)
        base = base or build_demo_base(shop, dataset, loaded)
        adapter = train_adapter(shop, base, dataset, loaded)
        adapter_gguf = convert_adapter(shop, adapter)
        found = _made(shop, adapter, adapter_gguf)
    emit({"ok": True, **found}, as_json=as_json, text=lambda: _lines(found))
    return 0


def _made(shop: Workshop, adapter: str, adapter_gguf: str) -> dict[str, Any]:
    manifest = shop.models.get(adapter)
    return {
        "adapter": adapter,
        "adapter_gguf": adapter_gguf,
        "base": manifest.links["base"],
        "base_gguf": shop.models.get(adapter_gguf).links["base_gguf"],
        "bytes": manifest.bytes,
        "measured": manifest.measured,
    }


def _lines(found: dict[str, Any]) -> str:
    names = ("base", "base_gguf", "adapter", "adapter_gguf")
    return "\n".join(f"{name:<13} {found[name]}" for name in names)


@train.command()
@json_option
@click.pass_context
def status(ctx: click.Context, *, as_json: bool) -> int:
    """List the training stages: finished, running or interrupted."""
    from appliance.training.status import all_stages

    stages = all_stages(get_home(ctx, prepare=False))
    rows = [
        f"{s['run']:<36} {s['state']:<12} step {s['step']}/{s['total'] or '?'} "
        f"{(s['object'] or '')[:SHORT]}"
        for s in stages
    ]
    emit({"stages": stages}, as_json=as_json, text="\n".join(rows) or "no training yet")
    return 0


@train.command()
@click.argument("name", required=False)
@json_option
@click.pass_context
def cancel(ctx: click.Context, *, name: str | None, as_json: bool) -> int:
    """Stop a running stage with a checkpoint (exit code 1: nothing was running)."""
    from appliance.training.status import cancel as ask

    asked = ask(get_home(ctx), name)
    text = "\n".join(f"{one} was asked to stop" for one in asked) or "nothing is running"
    emit({"ok": bool(asked), "cancelled": asked}, as_json=as_json, text=text)
    return answer(bool(asked))
