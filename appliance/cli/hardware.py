"""``appliance hardware``: check the machine, plan the model, measure, keep watch."""

from __future__ import annotations

import os
from pathlib import Path

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

language_option = click.option(
    "--lang",
    type=click.Choice(["en", "pt-BR"]),
    help="Language of the text (default: from LANG; with --json English).",
)


@click.group()
def hardware() -> None:
    """Check the machine, plan the model, measure, keep watch."""


@hardware.command()
@click.option("--profile", help="A shipped profile or the path of your own.")
@click.option("--record", type=click.Path(path_type=Path), help="Save the raw probes here.")
@click.option("--replay", type=click.Path(path_type=Path), help="Judge the probes saved here.")
@click.option(
    "--answer",
    "answers",
    multiple=True,
    metavar="NAME=NUMBER",
    help="Answer a question of the profile, like power_supply_watts=1200.",
)
@language_option
@json_option
@click.pass_context
def check(
    ctx: click.Context,
    *,
    profile: str | None,
    record: Path | None,
    replay: Path | None,
    answers: tuple[str, ...],
    lang: str | None,
    as_json: bool,
) -> int:
    """Say whether this machine will do, and what to fix."""
    from appliance.hardware.check import CheckRequest, run_check
    from appliance.hardware.table import check_table
    from appliance.hardware.texts import language_from, words

    home = get_home(ctx, prepare=False)
    settings = get_settings(home).hardware
    language = lang or ("en" if as_json else language_from(dict(os.environ)))
    request = CheckRequest(
        profile=profile or settings.profile,
        record=record,
        replay=replay,
        answers=_numbers(answers),
        language=language,
    )
    result, inventory = run_check(request, settings, home)
    emit(
        result.to_dict(),
        as_json=as_json,
        text=lambda: check_table(result, inventory, words(language)),
    )
    return answer(result.ok)


def _numbers(pairs: tuple[str, ...]) -> dict[str, float]:
    """Read NAME=NUMBER options."""
    import math

    found: dict[str, float] = {}
    for pair in pairs:
        name, equals, number = pair.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not equals or not math.isfinite(value):
            raise click.BadParameter(f"expected NAME=NUMBER, found {pair}")
        found[name] = value
    return found
