"""``appliance hardware``: check the machine, plan the model, measure, keep watch."""

from __future__ import annotations

import os
from pathlib import Path

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

_QUANTISATIONS = ["Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16"]
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


@hardware.command()
@click.option("--replay", type=click.Path(path_type=Path), help="Show the machine recorded here.")
@language_option
@json_option
@click.pass_context
def inventory(ctx: click.Context, *, replay: Path | None, lang: str | None, as_json: bool) -> int:
    """Show everything known of the machine, and for the rest why it is not known."""
    from appliance.hardware.check import take_inventory
    from appliance.hardware.table import inventory_lines
    from appliance.hardware.texts import language_from, words

    settings = get_settings(get_home(ctx, prepare=False)).hardware
    found = take_inventory(replay, settings)
    say = words(lang or language_from(dict(os.environ)))
    emit(found.to_dict(), as_json=as_json, text=lambda: inventory_lines(found, say))
    return 0


@hardware.command()
@click.option(
    "--model",
    "models",
    multiple=True,
    help="A model of the catalogue, a GGUF file or a Hugging Face folder; name several to compare.",
)
@click.option("--quant", "quantisation", type=click.Choice(_QUANTISATIONS), help="Force a type.")
@click.option("--context", type=click.IntRange(256, 16_777_216), default=8192, show_default=True)
@click.option("--users", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--cache", type=click.Choice(["f16", "q8_0"]), default="f16", show_default=True)
@click.option(
    "--prompt",
    type=click.IntRange(1, 16_777_216),
    default=256,
    show_default=True,
    help="Tokens of a typical question.",
)
@click.option("--profile", help="Plan for the machine this profile asks for.")
@click.option("--cards", help="Plan for these cards, like: 2x RTX 5090.")
@click.option("--replay", type=click.Path(path_type=Path), help="Plan for a recorded machine.")
@click.option("--list", "listing", is_flag=True, help="List the models of the catalogue.")
@language_option
@json_option
@click.pass_context
def plan(
    ctx: click.Context,
    *,
    models: tuple[str, ...],
    quantisation: str | None,
    context: int,
    users: int,
    cache: str,
    prompt: int,
    profile: str | None,
    cards: str | None,
    replay: Path | None,
    listing: bool,
    lang: str | None,
    as_json: bool,
) -> int:
    """Say which model fits, at which quantisation and context, and how fast it will run."""
    from appliance.hardware.plan_report import (
        candidates,
        catalogue_list,
        plan_table,
        report,
        wish_for,
    )
    from appliance.hardware.plan_sources import machine_for
    from appliance.hardware.texts import language_from, words

    home = get_home(ctx, prepare=False)
    settings = get_settings(home).hardware
    say = words(lang or ("en" if as_json else language_from(dict(os.environ))))
    if listing:
        found, text = catalogue_list(say)
        emit(found, as_json=as_json, text=text)
        return 0
    if sum(x is not None for x in (profile, cards, replay)) > 1:
        raise click.UsageError("name one of --profile, --cards and --replay")
    machine = machine_for(settings, home, profile=profile, cards=cards, replay=replay)
    wish = wish_for(context, users, cache, prompt)
    asked = candidates(models, settings.gguf_header_max_bytes)
    told = report(asked, machine, wish, quantisation, say)
    emit(told, as_json=as_json, text=lambda: plan_table(told, say))
    return answer(told["ok"])


@hardware.command()
@click.option(
    "--model",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A GGUF file to time the engine with.",
)
@language_option
@json_option
@click.pass_context
def bench(ctx: click.Context, *, model: Path | None, lang: str | None, as_json: bool) -> int:
    """Measure memory, engine, disk and hashing; sign, save and compare with the last run."""
    from appliance.core.clock import SystemClock
    from appliance.core.progress import NoProgress, StderrProgress
    from appliance.hardware.bench_run import bench_table, run_bench
    from appliance.hardware.texts import language_from, words

    home = get_home(ctx)
    settings = get_settings(home).hardware
    say = words(lang or ("en" if as_json else language_from(dict(os.environ))))
    progress = NoProgress() if as_json else StderrProgress("bench")
    try:
        told = run_bench(home, settings, SystemClock(), progress, model=model)
    finally:
        progress.close()
    emit(told, as_json=as_json, text=lambda: bench_table(told, say))
    return answer(told["ok"])


@hardware.command()
@click.option("--port", type=click.IntRange(0, 65535), help="Loopback port of the metrics.")
@click.option("--interval", type=click.FloatRange(1, 3600), help="Seconds between two looks.")
@click.option("--once", is_flag=True, help="Look once, log what changed, and end.")
@click.option("--accept", is_flag=True, help="Take the machine as it is now for the right one.")
@json_option
@click.pass_context
def watch(
    ctx: click.Context,
    *,
    port: int | None,
    interval: float | None,
    once: bool,
    accept: bool,
    as_json: bool,
) -> int:
    """Keep watch: export metrics on the loopback address, log what changes (JSON lines)."""
    import signal
    import threading

    from appliance.audit.recorder import open_recorder
    from appliance.core.clock import SystemClock
    from appliance.hardware.check import card_names
    from appliance.hardware.watch import Watch, WatchOptions, serve, state_file
    from appliance.hardware.watch_probes import LiveProber

    home = get_home(ctx)
    settings = get_settings(home).hardware
    changed = {"watch_port": port, "watch_seconds": interval}
    settings = settings.model_copy(update={k: v for k, v in changed.items() if v is not None})
    if accept:
        state_file(home).unlink(missing_ok=True)
    prober = LiveProber(settings)
    stop = threading.Event()
    watching = Watch(
        home,
        prober,
        lambda: open_recorder(home, "hardware"),
        WatchOptions(SystemClock(), card_names(), settings.watch_slow_seconds),
    )

    def tell(value: dict[str, str]) -> None:
        emit(value, as_json=as_json, text=" ".join(f"{k}={v}" for k, v in value.items()))

    try:
        if once:
            found = [{"kind": c.kind, **c.detail()} for c in watching.look()]
            lines = "\n".join(" ".join(f"{k}={v}" for k, v in c.items()) for c in found)
            emit({"changes": found}, as_json=as_json, text=lines)
            return 0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        serve(watching, home, settings, stop, tell)
    finally:
        prober.close()
    return 0
