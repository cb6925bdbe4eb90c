"""`appliance audit export`, `retention` and `collect`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.audit.export.syslog_tls import Receiver

FORMATS = ("balp", "atna", "ocsf", "ecs", "cef", "csv")  # appliance.audit.export.FORMATS
FILE = click.Path(path_type=Path, dir_okay=False)


def _receiver(given: dict[str, Any]) -> Receiver:
    from appliance.audit.export.syslog_tls import PORT, Receiver

    if given["ca"] is None:
        raise click.UsageError("--syslog needs --ca, the authority that vouches for the receiver")
    host, _, port = given["syslog"].rpartition(":")
    if not host or not port.isdecimal():
        host, port = given["syslog"], str(PORT)
    return Receiver(host, int(port), given["ca"], given["cert"], given["key"])


@click.command()
@click.option("--format", "form", type=click.Choice(FORMATS), required=True)
@click.option("-o", "--output", type=FILE, help="The file to write.")
@click.option("--from", "since", metavar="TIME", help="Start of the period (RFC 3339).")
@click.option("--to", "until", metavar="TIME", help="End of the period (RFC 3339).")
@click.option("--first", type=click.IntRange(0), default=0, help="Start at this index.")
@click.option("--log", type=click.IntRange(1), help="Only this shard.")
@click.option("--site", default="hospital", show_default=True, help="Name of the site.")
@click.option("--syslog", metavar="HOST:PORT", help="Send (atna) to this syslog receiver over TLS.")
@click.option("--ca", type=FILE, help="With --syslog: the receiver's authority (PEM).")
@click.option("--cert", type=FILE, help="With --syslog: our certificate (PEM).")
@click.option("--key", type=FILE, help="With --syslog: our key (PEM).")
@json_option
@click.pass_context
def export(ctx: click.Context, /, *, form: str, as_json: bool, **given: Any) -> int:
    """Write entries for another system, or send them to it."""
    from appliance import __version__
    from appliance.audit.export import Source
    from appliance.audit.officer import Officer, Period
    from appliance.audit.recorder import open_recorder
    from appliance.cli.audit_evidence import Moment
    from appliance.core.clock import SystemClock

    if bool(given["output"]) == bool(given["syslog"]) or (given["syslog"] and form != "atna"):
        raise click.UsageError("write to --output, or send --format atna to --syslog")
    home = get_home(ctx)
    since = Moment().convert(given["since"], None, ctx) if given["since"] else None
    until = Moment(end=True).convert(given["until"], None, ctx) if given["until"] else None
    period = Period(since, until, given["first"], given["log"])
    source = Source(site=given["site"], version=__version__)
    with open_recorder(home, "cli") as recorder:
        officer = Officer(home, get_settings(home).audit, recorder, SystemClock())
        if given["syslog"]:
            value = officer.send(period, source, _receiver(given))
        else:
            value = officer.export(form, period, source, given["output"])
    where = value.get("path") or value.get("receiver")
    emit({"ok": True, **value}, as_json=as_json, text=f"{value['entries']} entries to {where}")
    return 0


@click.group()
def retention() -> None:
    """Keep entries as long as the policy says, and no longer; the tree stays for ever."""


def _plans(ctx: click.Context) -> list[Any]:
    from appliance.audit.evidence import entry_time
    from appliance.audit.officer import let_sign, logs_of
    from appliance.audit.retention import plan
    from appliance.core.clock import SystemClock

    home = get_home(ctx, prepare=False)
    let_sign(home)
    years = get_settings(home).audit.retention_years
    now = SystemClock().now()
    return [plan(shard.folder, now, years, entry_time) for shard in logs_of(home)]


@retention.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Say what was removed, and what has outlived the policy."""
    plans = _plans(ctx)
    logs = [
        {"log": p.folder.name, "pruned_before": p.already, "entries_due": p.entries} for p in plans
    ]
    years = get_settings(get_home(ctx, prepare=False)).audit.retention_years
    value = {"ok": True, "years": years, "cutoff": plans[-1].cutoff, "logs": logs}
    lines = [f"kept for {years} years (since {value['cutoff']})"]
    lines += [
        f"{x['log']}: entries below {x['pruned_before']} removed, {x['entries_due']} due"
        for x in logs
    ]
    emit(value, as_json=as_json, text="\n".join(lines))
    return 0


@retention.command()
@click.option("--yes", is_flag=True, help="Remove; without it the command only says what is due.")
@json_option
@click.pass_context
def prune(ctx: click.Context, yes: bool, as_json: bool) -> int:
    """Remove entry bundles that have outlived the policy, after logging the line."""
    from appliance.audit.officer import logs_of
    from appliance.audit.recorder import open_recorder
    from appliance.audit.retention import prune as remove

    plans = _plans(ctx)
    due = sum(p.entries for p in plans)
    bundles = 0
    if yes:
        home = get_home(ctx)
        years = get_settings(home).audit.retention_years
        current = logs_of(home)[-1].folder
        with open_recorder(home, "cli") as recorder:
            bundles = sum(remove(p, recorder, years, current) for p in plans)
    value = {"ok": True, "entries": due, "bundles": bundles, "removed": yes}
    text = f"{due} entries {'removed' if yes else 'are due; add --yes to remove them'}"
    emit(value, as_json=as_json, text=text)
    return 0


@click.command()
@click.option("--journal/--no-journal", default=True, help="Read the systemd journal.")
@click.option("--auditd", type=FILE, help="Read this audit.log too.")
@click.option("--every", type=click.IntRange(1), help="Go on, one pass every so many seconds.")
@json_option
@click.pass_context
def collect(ctx: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """Take the host's own events (SSH, sudo, containers, firewall, users) into the log."""
    from appliance.audit.recorder import open_recorder
    from appliance.audit.sources_collect import Collector, SystemJournal
    from appliance.core.durable import exclusive

    if not given["journal"] and given["auditd"] is None:
        raise click.UsageError("nothing to read: --journal or --auditd")
    home = get_home(ctx)
    with (
        exclusive(home.run / "audit-collect.lock", what="audit collection"),
        open_recorder(home, "host", user="host") as recorder,
    ):
        while True:
            collector = Collector(home.root / "collect", recorder)
            value: dict[str, Any] = {"ok": True}
            if given["journal"]:
                value["journal"] = dict(collector.journal(SystemJournal()).__dict__)
            if given["auditd"] is not None:
                done = collector.auditd(given["auditd"], with_journal=given["journal"])
                value["auditd"] = dict(done.__dict__)
            counts = {k: v["events"] for k, v in value.items() if isinstance(v, dict)}
            text = ", ".join(f"{n} events from {k}" for k, n in counts.items())
            emit(value, as_json=as_json, text=text)
            if given["every"] is None:
                return 0
            time.sleep(given["every"])
