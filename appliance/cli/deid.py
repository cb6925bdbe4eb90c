"""``appliance deid``: scan, apply, report, bench."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option


@click.group()
def deid() -> None:
    """Find and replace identifiers."""


@deid.command("scan")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "fmt", help="The format; told from the content when not given.")
@json_option
@click.pass_context
def scan(ctx: click.Context, files: tuple[Path, ...], *, fmt: str | None, as_json: bool) -> int:
    """Count the identifiers in files; nothing is written and no value is shown.

    Answers 1 when there is one.
    """
    from appliance.datasets.service import scan_files

    settings = get_settings(get_home(ctx, prepare=False))
    found = scan_files(settings, files, fmt)
    lines = [f"{name}: {count}" for name, count in sorted(found.entities.items())]
    lines.append(f"{found.records} records, {found.with_identifiers} with identifiers")
    emit(
        {
            "ok": not found.entities,
            "records": found.records,
            "with_identifiers": found.with_identifiers,
            "refused": found.refused,
            "entities": found.entities,
        },
        as_json=as_json,
        text="\n".join(lines),
    )
    return answer(not found.entities)


@deid.command("apply")
@click.option("--dataset", required=True, help="The version's hash, or its first characters.")
@json_option
@click.pass_context
def apply(ctx: click.Context, *, dataset: str, as_json: bool) -> int:
    """Make a version of a dataset without identifiers."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.progress import StderrProgress
    from appliance.datasets.service import deidentify

    home = get_home(ctx)
    with open_recorder(home, "deid") as recorder:
        result = deidentify(
            home, get_settings(home), dataset, recorder, StderrProgress("de-identify")
        )
    lines = [result.hash, f"{result.changed} of {result.records} records changed"]
    lines += [f"  {name}: {count}" for name, count in result.entities.items()]
    emit(
        {
            "ok": True,
            "dataset": result.hash,
            "parent": result.parent,
            "records": result.records,
            "changed": result.changed,
            "entities": result.entities,
            "path": result.path,
        },
        as_json=as_json,
        text="\n".join(lines),
    )
    return 0


@deid.command("report")
@click.option("--dataset", required=True, help="The version's hash, or its first characters.")
@json_option
@click.pass_context
def report(ctx: click.Context, *, dataset: str, as_json: bool) -> int:
    """Show what was replaced in a version, under which policy, and what is still found in it.

    Answers 1 when an identifier is still found.
    """
    from appliance.datasets.service import check
    from appliance.datasets.store import DatasetStore

    home = get_home(ctx)
    manifest = DatasetStore(home).open(dataset).manifest
    checked = check(home, get_settings(home), manifest.hash)
    left = next(c for c in checked.checks if c.name == "identifiers")
    lines = [f"{manifest.hash} ({manifest.stage})", f"policy: {manifest.policy}"]
    lines += [f"  replaced {name}: {count}" for name, count in manifest.entities.items()]
    lines.append(f"still found: {left.detail}")
    emit(
        {
            "ok": left.ok,
            "dataset": manifest.hash,
            "stage": manifest.stage,
            "parent": manifest.parent,
            "policy": manifest.policy,
            "replaced": manifest.entities,
            "left": left.detail,
        },
        as_json=as_json,
        text="\n".join(lines),
    )
    return answer(left.ok)


@deid.command("bench")
@click.option("--notes", "count", default=300, show_default=True, type=click.IntRange(1, 100_000))
@click.option("--seed", default=1, show_default=True, type=int, help="Seed of the notes.")
@json_option
@click.pass_context
def bench(ctx: click.Context, *, count: int, seed: int, as_json: bool) -> int:
    """Measure recall, precision and speed on synthetic notes with planted identifiers."""
    from appliance.core.clock import SystemClock
    from appliance.deid.bench import score, speed
    from appliance.deid.detector import Detector
    from appliance.deid.synthetic import notes

    settings = get_settings(get_home(ctx, prepare=False)).deid
    detector = Detector(settings.threshold, name_model=settings.name_model or None)
    made = list(notes(count, seed))
    result = score(made, detector)
    rates = speed([note.text for note in made], detector, SystemClock())
    value: dict[str, Any] = {
        "ok": True,
        "notes": count,
        "recall": {name: round(result.recall(name), 4) for name in sorted(result.planted)},
        "planted": dict(sorted(result.planted.items())),
        "precision": round(result.precision(), 4),
        "wrong": dict(Counter(result.wrong)),
        "kept": result.kept,
        "damaged": result.damaged,
        "characters_per_second": round(rates.gated),
        "characters_per_second_plain": round(rates.plain),
        "characters_per_second_bare_regex": round(rates.bare),
        "times_slower_than_bare_regex": round(rates.bare / rates.gated, 1),
    }
    lines = [
        f"{name:<20} {value['recall'][name]:.4f} of {value['planted'][name]}"
        for name in value["recall"]
    ]
    lines += [f"{name}: {item}" for name, item in value.items() if not isinstance(item, dict)]
    emit(value, as_json=as_json, text="\n".join(lines))
    return 0


@deid.command("train-names")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The model's folder.")
@click.option("--sentences", default=4000, show_default=True, type=click.IntRange(100, 100_000))
@click.option("--rounds", default=6, show_default=True, type=click.IntRange(1, 100))
@click.option("--seed", default=1, show_default=True, type=click.IntRange(min=0))
@json_option
def train_names(*, out: Path, sentences: int, rounds: int, seed: int, as_json: bool) -> int:
    """Train a small model for names that no label announces, from made-up sentences.

    Needs Faker, a development dependency. Set deid.name_model to the folder to use it.
    """
    from importlib.util import find_spec

    from appliance.core.errors import ToolMissingError
    from appliance.core.progress import StderrProgress

    if find_spec("faker") is None:
        raise ToolMissingError(
            expected="the package faker, for names the rules never saw",
            found="it is not installed",
            remedy="Install the extra `dev`, or carry a trained model in.",
        )
    from appliance.datasets.packaged import plain_sentences
    from appliance.deid.name_training import Plan, faker_names, train

    plan = Plan(sentences, rounds, seed, plain_sentences())
    result = train(out, faker_names(seed), plan, StderrProgress("train names"))
    emit(
        {
            "ok": True,
            "folder": result.folder,
            "sentences": result.sentences,
            "losses": result.losses,
        },
        as_json=as_json,
        text=f"{result.folder}: {result.sentences} sentences, loss {result.losses[-1]}",
    )
    return 0
