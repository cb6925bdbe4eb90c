"""``appliance host certificate``: the TLS certificate of gateway and console."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option


@click.command()
@click.option("--name", "names", multiple=True, help="A further name clients use (repeatable).")
@click.option(
    "--install",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The certificate (with its chain) that the hospital's authority made from server.csr.",
)
@click.option("--renew", is_flag=True, help="Make a new self-signed one with the same key.")
@json_option
@click.pass_context
def certificate(
    ctx: click.Context, /, names: tuple[str, ...], install: Path | None, renew: bool, as_json: bool
) -> int:
    """Make or show the TLS certificate of gateway and console; exit code 1 when it has ended.

    The first call makes a key, a self-signed certificate and a request (keys/tls/server.csr) for
    the hospital's authority; later calls show what is in use. Clients compare the fingerprint.
    """
    from appliance.audit.recorder import open_recorder
    from appliance.core.certificate import certificate_file
    from appliance.core.clock import SystemClock
    from appliance.host import certificate as tls

    home = get_home(ctx)
    address = get_settings(home).host.address
    now = SystemClock().now()
    found = tls.held(home)
    made = install is not None or renew or found is None
    if made:
        with open_recorder(home, "host") as recorder, recorder.action("host.certificate") as act:
            if install is not None:
                found = tls.install(home, install, now)
            else:
                wanted = tls.names_for(address, socket.gethostname(), names)
                found = tls.make(home, wanted, now)
            act.detail.update(sha256=found.sha256, self_signed=found.self_signed)
    assert found is not None
    value: dict[str, Any] = {
        "ok": found.days_left(now) >= 0,
        "changed": made,
        "file": str(certificate_file(home)),
        "names": list(found.names),
        "not_after": found.not_after.isoformat(),
        "self_signed": found.self_signed,
        "sha256": found.sha256,
    }
    emit(
        value,
        as_json=as_json,
        text=f"{value['file']}: {', '.join(found.names)}\n"
        f"valid until {found.not_after:%Y-%m-%d}, "
        f"{'self-signed' if found.self_signed else 'signed by an authority'}\n"
        f"SHA-256 {found.sha256}",
    )
    return answer(value["ok"])
