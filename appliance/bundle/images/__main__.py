"""``python -m appliance.bundle.images``: build, list and prove container images."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from typing import Any

import click

from appliance.bundle.images.build import Builder, Options
from appliance.bundle.images.proof import prove_file
from appliance.bundle.images.recipe import load_image, names
from appliance.core.canonical import canonical_json
from appliance.core.errors import ApplianceError
from appliance.core.progress import StderrProgress

ROOT = Path(__file__).parents[3]


def _print(value: Any) -> None:
    click.echo(canonical_json(value).decode("utf-8"))


@click.group()
def images() -> None:
    """Build the appliance's container images and prove image archives."""


@images.command()
@click.argument("chosen", nargs=-1)
@click.option("--recipes", type=click.Path(path_type=Path), default=ROOT / "images")
@click.option("--cache", type=click.Path(path_type=Path), default=ROOT / ".run" / "images")
@click.option("--out", type=click.Path(path_type=Path), default=ROOT / "dist" / "images")
@click.option(
    "--fresh",
    "fresh_packages",
    is_flag=True,
    help="Ask the mirror again which packages are current.",
)
@click.option("--llama", type=click.Path(path_type=Path), help="Compiled parts to take.")
@click.option("--mirror", "mirrors", multiple=True, help="A sources line; may be given again.")
@click.option("--everything", is_flag=True, help="Also recipes for a build machine with CUDA.")
@click.option("--again/--kept", "remake_layers", help="Make every layer anew, kept or not.")
def build(chosen: tuple[str, ...], recipes: Path, **choices: Any) -> None:
    """Build the named images (all that can be built here when none is named)."""
    options = Options(images=recipes, **choices)
    progress = StderrProgress("images")
    builder = Builder(options, progress)
    wanted = chosen or tuple(n for n in names(recipes) if load_image(recipes, n).built_here)
    for name in wanted:
        done = builder.build(name)
        _print({k: done[k] for k in ("name", "image_id", "archive", "bytes_unpacked")})
    progress.close()


@images.command(name="list")
@click.option("--recipes", type=click.Path(path_type=Path), default=ROOT / "images")
def list_(recipes: Path) -> None:
    """List the recipes."""
    for name in names(recipes):
        image = load_image(recipes, name)
        _print({"name": name, "title": image.title, "built_here": image.built_here})


@images.command(name="prove")
@click.argument("archive", type=click.Path(path_type=Path))
def prove_(archive: Path) -> None:
    """Prove every byte of an image archive."""
    proven = prove_file(archive)
    _print({"reference": proven.reference, "image_id": proven.image_id, "layers": proven.layers})


@images.command(name="load")
@click.argument("archive", type=click.Path(path_type=Path))
def load_(archive: Path) -> None:
    """Prove an image archive, give it to Docker and compare what Docker has with it."""
    from appliance.bundle.images import engine

    proven = engine.load(engine.connect(), archive)
    _print({"reference": proven.reference, "image_id": proven.image_id})


@images.command(context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--home", type=click.Path(path_type=Path), default=Path("/var/lib/appliance"), show_default=True
)
@click.option("--inputs", type=click.Path(path_type=Path, exists=True), help="Seen as /inputs.")
@click.option(
    "--compose", type=click.Path(path_type=Path), default=ROOT / "images" / "compose.yaml"
)
@click.option("--images", "archives", type=click.Path(path_type=Path), help="The proven archives.")
@click.option("--with-trainer", is_flag=True, help="Keep the trainer service up meanwhile.")
def agent(
    command: tuple[str, ...], *, home: Path, compose: Path, with_trainer: bool, **choices: Any
) -> int:
    """Run `appliance COMMAND` in a container without a network (options first, then --)."""
    from appliance.bundle.images import engine, oneoff, services

    variables = {**os.environ, "APPLIANCE_HOME": str(home)}
    if choices["inputs"] is not None:
        variables["APPLIANCE_INPUTS"] = str(choices["inputs"].resolve())
    client, plan = engine.connect(), services.read_plan(compose, variables)
    archives = choices["archives"] or compose.parent
    with contextlib.ExitStack() as stack:
        if with_trainer:
            stack.enter_context(oneoff.trainer(client, plan, archives))
        return oneoff.run(client, plan, archives, command)


def main() -> int:
    """Run; an error of the appliance prints its own words and ends with its own code."""
    try:
        code = images(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except ApplianceError as error:
        click.echo(str(error), err=True)
        return error.exit_code
    return int(code or 0)


if __name__ == "__main__":
    sys.exit(main())
