"""`appliance audit`: append to, search, verify and measure the log.

The commands of officers (proofs, witnesses, evidence, export, erasure) stand in
``audit_evidence``.
"""

from __future__ import annotations

import contextlib
import importlib.util
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.audit.verify import Report
    from appliance.core.home import Home


TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"]


class AuditGroup(click.Group):
    """Finds the officers' commands only when one is asked for."""

    def _load(self) -> None:
        name = "appliance.cli.audit_evidence"
        if not getattr(self, "_loaded", False) and importlib.util.find_spec(name) is not None:
            self._loaded = True
            for command in importlib.import_module(name).commands:
                self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        self._load()
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command."""
        found = super().get_command(ctx, cmd_name)
        if found is None:
            self._load()
            found = super().get_command(ctx, cmd_name)
        return found


@click.group(cls=AuditGroup)
def audit() -> None:
    """Append to, search, verify and prove the audit log."""


def _pairs(values: tuple[str, ...]) -> dict[str, Any]:
    """Read ``name=value``; a whole number stays one."""
    detail: dict[str, Any] = {}
    for text in values:
        name, separator, value = text.partition("=")
        if not separator:
            raise click.UsageError(f"--detail takes name=value, not {name!r}")
        detail[name] = int(value) if value.lstrip("-").isdecimal() else value
    return detail


@audit.command()
@click.argument("action")
@click.option("--object", "object_id", help="Permanent id of what was touched.")
@click.option("--patient", help="Patient pseudonym (never an identifier).")
@click.option("--user", help="Who acted (default: the login name).")
@click.option("--component", default="cli", show_default=True, help="Which part speaks.")
@click.option("--reason", help="Why, in a few words; no clinical text.")
@click.option(
    "--outcome", type=click.Choice(["success", "refused", "failure", "unknown"]), help="Outcome."
)
@click.option("--detail", multiple=True, help="name=value, as often as needed.")
@json_option
@click.pass_context
def append(
    ctx: click.Context,
    *,
    action: str,
    object_id: str | None,
    patient: str | None,
    user: str | None,
    component: str,
    reason: str | None,
    outcome: Any,
    detail: tuple[str, ...],
    as_json: bool,
) -> int:
    """Write one event, such as `host.maintenance`, and print its index once it is durable."""
    from appliance.audit.recorder import open_recorder

    fields = {"object_id": object_id, "patient": patient}
    with open_recorder(get_home(ctx), component, user=user) as recorder:
        receipt = recorder.event(
            action,
            detail=_pairs(detail),
            outcome=outcome,
            reason=reason,
            object_id=fields["object_id"],
            patient=fields["patient"],
        )
    value = {"ok": True, "index": receipt.index, "id": receipt.id}
    emit(value, as_json=as_json, text=f"entry {receipt.index} is durable (id {receipt.id})")
    return 0


@audit.command()
@click.option(
    "--since",
    type=click.Path(path_type=Path, dir_okay=False),
    multiple=True,
    help="A checkpoint somebody kept: the log must extend it.",
)
@click.option(
    "--newer-only",
    is_flag=True,
    help="With --since: read only the entries after it again; trust its tiles for the rest.",
)
@click.option(
    "--log",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Verify this tlog-tiles folder instead of the home's log.",
)
@click.option("--vkey", help="The verifier key of --log (text, or the path of a file with it).")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    *,
    since: tuple[Path, ...],
    newer_only: bool,
    folder: Path | None,
    vkey: str | None,
    as_json: bool,
) -> int:
    """Read every byte of the log again; exit code 1 names what is wrong and where."""
    from appliance.audit.verify import Options, read_kept, verify_folder, verify_home
    from appliance.core.progress import StderrProgress

    if (folder is None) != (vkey is None):
        raise click.UsageError("--log and --vkey go together")
    if newer_only and not since:
        raise click.UsageError("--newer-only needs --since")
    home = get_home(ctx, prepare=False)
    if folder is None:
        _let_sign(home)
    processes = get_settings(home).audit.verify_processes
    options = Options([read_kept(path) for path in since], processes, newer_only)
    progress = StderrProgress("verify")
    try:
        if folder is not None and vkey is not None:
            text = Path(vkey).read_text("utf-8") if Path(vkey).is_file() else vkey
            report = verify_folder(folder, text.strip(), options, progress)
        else:
            report = verify_home(home.audit, options, progress)
    finally:
        progress.close()
    emit(report.to_dict(), as_json=as_json, text=lambda: _verify_text(report))
    return answer(report.ok)


def _let_sign(home: Home) -> None:
    """Ask a running writer to sign what it has, so that the answer covers the newest entries."""
    from appliance.audit import wire
    from appliance.audit.client import connect
    from appliance.core.errors import ApplianceError

    with contextlib.suppress(ApplianceError):  # a log is verified with or without its writer
        sink = connect(home, start=False)
        try:
            sink.ask(wire.SYNC)
        finally:
            sink.close()


def _verify_text(report: Report) -> str:
    parts = f" in {len(report.shards)} logs" if len(report.shards) > 1 else ""
    lines = [f"{'INTACT' if report.ok else 'NOT INTACT'}: {report.entries} entries{parts}"]
    lines += [
        f"log {shard['log']}: {shard['size']} entries, root {shard['root']}"
        for shard in report.shards
    ]
    lines += [f"problem [{p.name}] {p.place}: {p.what}" for p in report.problems]
    lines += [f"note [{p.name}] {p.place}: {p.what}" for p in report.notes]
    lines.append(", ".join(f"{k} {v}" for k, v in sorted(report.checked.items())))
    return "\n".join(lines)


@audit.command()
@click.option("--since", type=click.DateTime(TIMES), help="From this moment (UTC) on.")
@click.option("--until", type=click.DateTime(TIMES), help="Before this moment (UTC).")
@click.option("--user", help="Who acted.")
@click.option("--patient", help="Patient pseudonym.")
@click.option("--model", help="Hash of the model.")
@click.option("--action", help="Dotted name; `gateway` or `gateway.*` for all under it.")
@click.option("--object", "object_id", help="Permanent id of what was touched.")
@click.option("--outcome", help="success, refused, failure or unknown.")
@click.option("--component", help="Which part spoke.")
@click.option("--emergency", is_flag=True, help="Emergency accesses only.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Rows.")
@click.option("--rebuild", is_flag=True, help="Make the search index again from the log first.")
@json_option
@click.pass_context
def search(
    ctx: click.Context,
    /,
    *,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    emergency: bool,
    rebuild: bool,
    as_json: bool,
    **texts: Any,
) -> int:
    """Find entries, newest first; what is shown is read from the log itself."""
    from appliance.audit.index import Filter, open_index
    from appliance.core.progress import StderrProgress

    home = get_home(ctx, prepare=False)
    _let_sign(home)
    limit = min(limit, get_settings(home).audit.search_rows)
    since, until = (t and t.replace(tzinfo=UTC) for t in (since, until))
    wanted = Filter(since=since, until=until, break_glass=emergency or None, **texts)
    progress = StderrProgress("index")
    with open_index(home.audit, progress) as index:
        if rebuild:
            index.rebuild(progress)
        progress.close()
        rows = index.search(wanted, limit=limit)
        value = {
            "ok": True,
            "count": index.count(wanted),
            "entries": [index.entry(row.log, row.n) for row in rows],
        }
    lines = [
        f"{r.at} {r.n:>8} {r.action} {r.outcome or r.phase} {r.user or '-'} {r.object_id or ''}"
        for r in rows
    ]
    emit(value, as_json=as_json, text="\n".join([*lines, f"{value['count']} entries match"]))
    return 0


@audit.command()
@json_option
@click.pass_context
def rotate(ctx: click.Context, as_json: bool) -> int:
    """Close the current shard with a final checkpoint and begin the next, under a new key."""
    from appliance.audit import wire
    from appliance.audit.client import connect

    sink = connect(get_home(ctx))
    try:
        value = {"ok": True, **sink.ask(wire.ROTATE)}
    finally:
        sink.close()
    emit(value, as_json=as_json, text=f"the log goes on as {value['origin']}")
    return 0


@audit.command()
@click.option("--start", is_flag=True, help="Start a writer when none runs.")
@json_option
@click.pass_context
def status(ctx: click.Context, start: bool, as_json: bool) -> int:
    """Say what the log's writer is doing; exit code 1 when none runs."""
    from appliance.audit import wire
    from appliance.audit.client import connect
    from appliance.core.errors import AuditUnavailableError

    try:
        sink = connect(get_home(ctx), start=start)
    except AuditUnavailableError as error:
        if start:
            raise
        emit(
            {"ok": False, "running": False, "found": error.found}, as_json=as_json, text="no writer"
        )
        return 1
    try:
        value = {"ok": True, "running": True, **sink.ask(wire.STATUS)}
    finally:
        sink.close()
    emit(value, as_json=as_json, text="\n".join(f"{k}: {v}" for k, v in sorted(value.items())))
    return 0


@audit.command()
@click.option("--entries", type=click.IntRange(1024), default=1_000_000, show_default=True)
@click.option("--producers", type=click.IntRange(1), default=8, show_default=True)
@click.option("--entry-bytes", type=click.IntRange(500, 4000), default=600, show_default=True)
@click.option("--batch", type=click.IntRange(1, 1024), default=16, help="Entries a request.")
@click.option("--window", type=click.IntRange(1), default=2, help="Requests under way.")
@click.option("--baseline-entries", type=click.IntRange(256), default=50_000, show_default=True)
@json_option
@click.pass_context
def bench(ctx: click.Context, /, *, as_json: bool, **sizes: int) -> int:
    """Measure the log on this disk, beside raw baselines of the same run."""
    import json

    from appliance.audit.bench import Sizes, run_bench
    from appliance.core.progress import StderrProgress

    progress = StderrProgress("bench")
    try:
        value = {"ok": True, **run_bench(get_home(ctx), Sizes(**sizes), progress)}
    finally:
        progress.close()
    emit(value, as_json=as_json, text=lambda: json.dumps(value, indent=2))
    return 0
