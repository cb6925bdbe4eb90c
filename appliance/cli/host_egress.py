"""``appliance host egress``: what tried to leave this machine."""

from __future__ import annotations

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option


@click.group()
def egress() -> None:
    """Count what tries to leave; expected is nothing."""


@egress.command()
@json_option
@click.pass_context
def start(ctx: click.Context, as_json: bool) -> int:
    """Put the counters into the kernel (as root, at every boot); they start at zero."""
    from appliance.audit.recorder import open_recorder
    from appliance.host.egress import declared_networks, ruleset
    from appliance.host.egress_store import SystemNft

    home = get_home(ctx)
    site = get_settings(home).host
    allowed = declared_networks(site)
    with (
        open_recorder(home, "host") as recorder,
        recorder.action("host.firewall.egress_counters", detail={"networks": len(allowed)}),
    ):
        SystemNft().load(ruleset(allowed, site.container_pool))
    emit({"ok": True, "networks": allowed}, as_json=as_json, text="counting")
    return 0


@egress.command()
@json_option
@click.pass_context
def report(ctx: click.Context, as_json: bool) -> int:
    """Report what tried to leave since the last report; exit code 1 when anything did."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.clock import SystemClock
    from appliance.host.egress_store import SystemNft, daily_report

    home = get_home(ctx)
    with open_recorder(home, "host") as recorder:
        value = daily_report(home, SystemNft(), recorder, SystemClock().now())
    lines = [f"{value['attempts']} attempts to leave, expected 0"]
    lines += [f"  {count:>6} packets to {where}" for where, count in value["destinations"].items()]
    lines += [f"  {count:>6} questions for {name}" for name, count in value["names"].items()]
    emit(value, as_json=as_json, text="\n".join(lines))
    return answer(value["ok"])


@egress.command()
@click.option("--address", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=53, show_default=True, help="UDP and TCP port.")
@click.pass_context
def sink(ctx: click.Context, address: str, port: int) -> int:
    """Answer every DNS question with "no such name" and count it, until ended (a service)."""
    import asyncio
    import contextlib
    import signal

    from appliance.audit.recorder import open_recorder
    from appliance.host.egress_store import serve_sink

    home = get_home(ctx)
    settings = get_settings(home).host
    with open_recorder(home, "host") as recorder:
        recorder.event("host.dns_sink_started", detail={"port": port})

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await serve_sink(home, address, port, settings.sink_max_names)

    with contextlib.suppress(asyncio.CancelledError, KeyboardInterrupt):
        asyncio.run(main())
    return 0
