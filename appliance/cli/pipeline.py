"""``appliance pipeline``: run the stages as a resumable graph."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.core.home import Home
    from appliance.pipeline.service import Request

NO_ROOT = "The profile the machine is judged by."


@click.group()
def pipeline() -> None:
    """Run the stages as a resumable graph."""


@pipeline.command()
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--recipe", default="demo", show_default=True, help="Name or file of the recipe.")
@click.option("--base", help="Hash of an imported base model (else the recipe's toy base).")
@click.option("--profile", default="2x-rtx-5090", show_default=True, help=NO_ROOT)
@json_option
@click.pass_context
def run(
    ctx: click.Context,
    inputs: tuple[Path, ...],
    recipe: str,
    base: str | None,
    profile: str,
    as_json: bool,
) -> int:
    """Import INPUTS, de-identify, train, evaluate, promote and serve; offline throughout.

    Finished stages are not run again. Exit code 1 when the gate refused the adapter.
    """
    from appliance.pipeline.service import Request
    from appliance.training.recipe import load_recipe

    request = Request(load_recipe(recipe), inputs, base=base, profile=profile)
    return run_and_show(get_home(ctx), request, as_json=as_json)


@pipeline.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Say what runs now and which stages are finished."""
    from appliance.pipeline.runner import pipeline_status

    value = pipeline_status(get_home(ctx))
    lines = [
        f"{row['stage']:<14} {row['seconds']:>8.1f} s  {row['key'][:12]}"
        for row in value["finished"]
    ]
    running = value["running"]
    lines.append(f"running: {running['stage']}" if running else "nothing is running")
    if value["interrupted"]:
        lines.append(f"interrupted in: {value['interrupted']['stage']}; run the same command again")
    emit(value, as_json=as_json, text="\n".join(lines))
    return answer(ok=True)


def run_and_show(home: Home, request: Request, *, as_json: bool) -> int:
    """Run the pipeline offline on ``home`` and print its summary."""
    from appliance.pipeline import isolation

    # First of all: a namespace belongs to the calling thread, so no thread may run yet.
    isolated = isolation.enter(home.run / "network-guard.log")
    from rich.console import Console

    from appliance.audit.recorder import open_recorder
    from appliance.gateway.trial import serve_stage
    from appliance.pipeline.runner import pipeline_lock
    from appliance.pipeline.service import Surroundings, run_pipeline
    from appliance.pipeline.show import ConsoleListener, summary_table

    settings = get_settings(home)
    with pipeline_lock(home), open_recorder(home, "pipeline") as recorder:
        place = Surroundings(home, settings, recorder, isolated, ConsoleListener())
        summary: dict[str, Any] = run_pipeline(
            place, request, serve_stage(home, settings, recorder)
        )
    if as_json:
        emit(summary, as_json=True)
    else:
        console = Console(highlight=False)
        console.print(summary_table(summary))
        console.print("\nThe log's signed checkpoint:\n", style="bold")
        console.print(summary["audit"]["checkpoint"], markup=False)
        console.print("Verify it:", summary["audit"]["command"], markup=False, soft_wrap=True)
    return answer(bool(summary["ok"]))
