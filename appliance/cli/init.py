"""``appliance init``: the first configuration."""

from __future__ import annotations

from typing import Any

import click

from appliance.cli.common import emit, get_home, json_option

_NEXT = (
    "appliance hardware check            # will this machine do?",
    "edit {settings}",
    "appliance host plan                 # what would be changed, and why",
    "appliance host provision            # do it; the same command again finishes it",
    "appliance audit witness --help      # let an officer's own device watch the log",
    "appliance doctor                    # is all well?",
)


@click.command()
@click.option("--data-disk", help="The empty disk for the data, as /dev/disk/by-id/...")
@click.option("--address", help="Address with prefix length on the hospital's network.")
@click.option("--interface", help="The network card of that address.")
@click.option("--admin-key", "admin_keys", multiple=True, help="A public SSH key (repeatable).")
@click.option("--timezone", help="Time zone, like America/Sao_Paulo.")
@json_option
@click.pass_context
def init(ctx: click.Context, /, as_json: bool, **given: Any) -> int:
    """Make the first configuration: settings with their reasons, the log and its keys.

    An appliance.toml that is there is never overwritten.
    """
    from appliance.audit.recorder import open_recorder
    from appliance.deid.keys import project_key
    from appliance.host.firstconfig import write_first

    home = get_home(ctx)
    values = {key: list(v) if isinstance(v, tuple) else v for key, v in given.items() if v}
    settings = write_first(home, {"host": values})
    with open_recorder(home, "init") as recorder:
        recorder.event("init.configured", detail={"values_given": len(values)})
        project_key(home, "default")
    steps = [line.format(settings=settings) for line in _NEXT]
    keys = sorted(
        str(path.relative_to(home.root))
        for folder in (home.keys, home.audit / "keys")
        for path in folder.rglob("*")
        if path.is_file()
    )
    emit(
        {"ok": True, "settings": str(settings), "keys": keys, "next": steps},
        as_json=as_json,
        text="\n".join([f"written: {settings}", "next:", *(f"  {line}" for line in steps)]),
    )
    return 0
