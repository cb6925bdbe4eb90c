"""``appliance data``: import, list, show, check and split records."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option


@click.group()
def data() -> None:
    """Import, list, show, check and split records."""


@data.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--format", "fmt", help="The format; told from the content when not given.")
@click.option("--name", default="", help="A name for people.")
@click.option("--licence", default="", help="The licence of the records (an SPDX identifier).")
@click.option("--encoding", help="The text encoding (default: UTF-8).")
@json_option
@click.pass_context
def import_(
    ctx: click.Context,
    *,
    files: tuple[Path, ...],
    fmt: str | None,
    name: str,
    licence: str,
    encoding: str | None,
    as_json: bool,
) -> int:
    """Import files, or folders of notes, as one dataset version."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.progress import StderrProgress

    # not through the service: that loads the detector of identifiers, 1.5 s nobody needs here
    from appliance.datasets.importing import ImportOptions, import_files

    home = get_home(ctx)
    settings = get_settings(home)
    with open_recorder(home, "data") as recorder:
        options = ImportOptions(fmt, name, licence, encoding, StderrProgress("import"))
        result = import_files(home, settings, files, recorder, options)
    lines = [f"{result.hash}", f"{result.records} records imported, {result.refused} refused"]
    lines += [f"  {r['file']}, {r['where']}: {r['reason']}" for r in result.refusals[:10]]
    emit(
        {
            "ok": True,
            "dataset": result.hash,
            "records": result.records,
            "refused": result.refused,
            "refusals": list(result.refusals),
            "path": result.path,
        },
        as_json=as_json,
        text="\n".join(lines),
    )
    return 0


@data.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> int:
    """List the dataset versions of this home."""
    from appliance.datasets.store import DatasetStore

    manifests = DatasetStore(get_home(ctx)).list()
    rows = [
        {
            "dataset": m.hash,
            "stage": m.stage,
            "name": m.name,
            "records": m.records,
            "refused": m.refused,
            "parent": m.parent,
        }
        for m in manifests
    ]
    lines = [f"{m.hash[:12]}  {m.stage:<12}  {m.records:>8}  {m.name}" for m in manifests]
    emit({"ok": True, "datasets": rows}, as_json=as_json, text="\n".join(lines) or "no datasets")
    return 0


@data.command("show")
@click.argument("dataset")
@click.option("--refused", is_flag=True, help="List the refused records with their reasons.")
@json_option
@click.pass_context
def show(ctx: click.Context, dataset: str, *, refused: bool, as_json: bool) -> int:
    """Show where a version comes from and what it counts (never a record's text)."""
    from appliance.datasets.store import DatasetStore

    found = DatasetStore(get_home(ctx)).open(dataset)
    value = found.manifest.model_dump(mode="json")
    refusals = value.pop("refusals")
    if refused:
        value["refusals"] = refusals
    lines = [f"{name}: {item}" for name, item in value.items() if item not in ("", {}, [], None)]
    emit({"ok": True, **value, "path": found.path}, as_json=as_json, text="\n".join(lines))
    return 0


@data.command("check")
@click.option("--dataset", required=True, help="The version's hash, or its first characters.")
@json_option
@click.pass_context
def check(ctx: click.Context, *, dataset: str, as_json: bool) -> int:
    """Check duplicates, leakage, identifiers left, class balance and sizes."""
    from appliance.datasets import service

    home = get_home(ctx)
    report = service.check(home, get_settings(home), dataset)
    lines = [
        f"{'ok  ' if c.ok else 'NO  ' if c.must else 'warn'}  {c.name}: {c.detail}"
        for c in report.checks
    ]
    emit(
        {
            "ok": report.ok,
            "dataset": report.hash,
            "checks": [c.to_dict() for c in report.checks],
        },
        as_json=as_json,
        text="\n".join(lines),
    )
    return answer(report.ok)


@data.command("split")
@click.option("--dataset", required=True, help="The version's hash, or its first characters.")
@click.option("--validation", type=click.FloatRange(0.01, 0.49), help="Share for validation.")
@click.option("--test", type=click.FloatRange(0.01, 0.49), help="Share held out.")
@click.option("--seed", type=click.IntRange(min=0), help="Another seed, another split.")
@click.option(
    "--test-ids",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file of record ids that are the test set of their source.",
)
@json_option
@click.pass_context
def split(
    ctx: click.Context,
    *,
    dataset: str,
    validation: float | None,
    test: float | None,
    seed: int | None,
    test_ids: Path | None,
    as_json: bool,
) -> int:
    """Divide a de-identified version into train, validation and test."""
    from appliance.audit.recorder import open_recorder
    from appliance.datasets import service

    home = get_home(ctx)
    options = service.SplitOptions(validation, test, seed, test_ids)
    with open_recorder(home, "data") as recorder:
        result = service.split(home, get_settings(home), dataset, recorder, options)
    counts = ", ".join(f"{name} {count}" for name, count in result.splits.items())
    emit(
        {
            "ok": True,
            "dataset": result.hash,
            "parent": result.parent,
            "splits": result.splits,
            "clusters": result.clusters,
            "path": result.path,
        },
        as_json=as_json,
        text=f"{result.hash}\n{counts}",
    )
    return 0
