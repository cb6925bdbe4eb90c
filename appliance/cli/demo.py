"""``appliance demo``: the whole appliance at toy size, no part of it faked."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.common import get_home, get_settings, json_option
from appliance.core.errors import InputMissingError

# Where the real input is looked for when --pubmedqa does not name it.
BESIDE = Path("..") / "shared" / "data" / "pubmedqa" / "ori_pqal.json"


@click.command()
@click.option(
    "--pubmedqa",
    type=click.Path(path_type=Path),
    help=f"PubMedQA's ori_pqal.json (default: {BESIDE} when it is there).",
)
@click.option("--recipe", default="demo", show_default=True, help="Name or file of the recipe.")
@click.option(
    "--profile", default="2x-rtx-5090", show_default=True, help="Judge the machine by this."
)
@json_option
@click.pass_context
def demo(
    ctx: click.Context, pubmedqa: Path | None, recipe: str, profile: str, as_json: bool
) -> int:
    """Run everything once: records in, a safer model out, served, logged, and nothing sent.

    The second run keeps what is finished. Kill it anywhere; the same command goes on.
    """
    from appliance.cli.pipeline import run_and_show
    from appliance.pipeline.service import Request, shipped_inputs
    from appliance.training.recipe import load_recipe

    real = pubmedqa or BESIDE
    if not real.is_file():
        raise InputMissingError(
            expected=f"PubMedQA's ori_pqal.json at {real}",
            found="no such file",
            remedy="Name it with --pubmedqa FILE (MIT licence, pubmedqa/pubmedqa on GitHub).",
        )
    home = get_home(ctx)
    notes = get_settings(home).pipeline.synthetic_notes
    request = Request(
        load_recipe(recipe), (real, *shipped_inputs()), notes=notes, profile=profile, name="demo"
    )
    return run_and_show(home, request, as_json=as_json)
