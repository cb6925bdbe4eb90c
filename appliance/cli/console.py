"""`appliance console`: serve the reviewers' console and keep its accounts."""

from __future__ import annotations

import getpass
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from appliance.cli.common import emit, get_home, get_settings, json_option

ROLES = ("auditor", "reviewer", "officer", "administrator")


@click.group()
def console() -> None:
    """Serve the reviewers' console and keep its accounts."""


@console.command()
@click.option("--host", help="Address to listen on (default: loopback).")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port; 0 takes a free one.")
@click.option("--tls-cert", type=click.Path(path_type=Path, dir_okay=False), help="PEM file.")
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False), help="PEM file.")
@json_option
@click.pass_context
def serve(
    ctx: click.Context,
    *,
    host: str | None,
    port: int | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    as_json: bool,
) -> int:
    """Serve the console until it is stopped; beyond loopback only with TLS."""
    from appliance.console import server
    from appliance.core.certificate import listening_values

    home = get_home(ctx)
    settings = get_settings(home)
    own = settings.console
    where = host or own.host
    given = {"tls_certificate": tls_cert, "tls_key": tls_key}
    named = own.model_copy(update={k: v.absolute() for k, v in given.items() if v is not None})
    tls = listening_values(home, where, named, settings.host.address)
    names = own.model_copy(update={"allowed_hosts": tls["allowed_hosts"]})

    def announce(url: str) -> None:
        emit({"ok": True, "url": url}, as_json=as_json, text=f"the console is at {url}")
        sys.stdout.flush()

    server.serve(
        home,
        settings.model_copy(update={"console": names}),
        where,
        own.port if port is None else port,
        tls["tls_certificate"],
        tls["tls_key"],
        announce,
    )
    return 0


@console.group()
def user() -> None:
    """Make and list the accounts of the console."""


def _password(stdin: bool) -> str:
    if stdin:
        return sys.stdin.readline().rstrip("\n")
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise click.UsageError("the two passwords differ")
    return first


@user.command()
@click.argument("name")
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the person may do.")
@click.option("--alias", "aliases", multiple=True, help="Another name of the person in the log.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@json_option
@click.pass_context
def add(ctx: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """Make an account here, with its password and second factor (the first administrator)."""
    from appliance.audit.recorder import open_recorder
    from appliance.console import credentials
    from appliance.console.accounts import check_role
    from appliance.console.store import UserStore, add_enrolled
    from appliance.core.clock import SystemClock

    home = get_home(ctx)
    settings = get_settings(home).console
    password = _password(given["password_stdin"])
    name, role = given["name"], check_role(given["role"])
    with (
        open_recorder(home, "cli") as recorder,
        recorder.action("console.user_create", object_id=name, detail={"new_role": role}),
    ):
        made, secret = add_enrolled(
            UserStore(home),
            name,
            role,
            password,
            settings,
            SystemClock().now(),
            aliases=tuple(given["aliases"]),
            by="command line",
        )
    uri = credentials.totp_uri(secret, made.name)
    value = {"ok": True, "user": made.name, "role": made.role, "totp_uri": uri}
    text = f"{made.name} ({made.role}) can log in. Scan this code with an authenticator app:"
    emit(value, as_json=as_json, text=f"{text}\n{uri}")
    if not as_json:
        import segno

        segno.make(uri, error="m").terminal(out=sys.stdout, compact=True)
    return 0


@user.command("list")
@json_option
@click.pass_context
def list_users(ctx: click.Context, as_json: bool) -> int:
    """List the accounts, without any secret."""
    from appliance.console.store import UserStore

    found = UserStore(get_home(ctx, prepare=False)).all()
    lines = [
        {"user": u.name, "role": u.role, "enrolled": u.enrolled, "disabled": u.disabled}
        for u in sorted(found.values(), key=lambda u: u.name)
    ]
    text = "\n".join(f"{line['user']}  {line['role']}" for line in lines) or "no account yet"
    emit({"ok": True, "users": lines}, as_json=as_json, text=text)
    return 0


@user.command()
@click.argument("name")
@json_option
@click.pass_context
def unlock(ctx: click.Context, name: str, as_json: bool) -> int:
    """Let an account log in again before its waiting time is over."""
    from appliance.audit.recorder import open_recorder
    from appliance.console.store import UserStore

    home = get_home(ctx)
    with (
        open_recorder(home, "cli") as recorder,
        recorder.action("console.user_change", object_id=name, detail={"change": "unlock"}),
        UserStore(home).changing(name) as box,
    ):
        box[0] = replace(box[0], failures=0, locked_until=None)
    emit({"ok": True, "user": name}, as_json=as_json, text=f"{name} can log in again")
    return 0
