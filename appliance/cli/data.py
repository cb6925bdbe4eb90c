"""``appliance data``: import, list, show, check and split records."""

from __future__ import annotations

from pathlib import Path

import click

from appliance.cli.common import emit, get_home, get_settings, json_option


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
    from appliance.datasets.service import ImportOptions, import_files

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
