"""``appliance serve``: the OpenAI-compatible gateway and its API keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.audit.recorder import Action
    from appliance.core.home import Home
    from appliance.core.settings import Settings
    from appliance.gateway.keys import KeyStore


@click.group(invoke_without_command=True)
@click.option("--host", help="Address to listen on (default: gateway.host, loopback).")
@click.option("--port", type=click.IntRange(0, 65_535), help="TCP port; 0 takes a free one.")
@click.option(
    "--engine",
    type=click.Choice(["embedded", "llama-server", "attached", "upstream"]),
    help="The engine (default: inference.engine).",
)
@json_option
@click.pass_context
def serve(
    ctx: click.Context, *, host: str | None, port: int | None, engine: str | None, as_json: bool
) -> int | None:
    """Serve the promoted model on an OpenAI-compatible API, until SIGTERM or Ctrl-C.

    Running answers end first. Without a promotion it runs and says not ready; without a key it
    refuses every request.
    """
    if ctx.invoked_subcommand is not None:
        return None
    from appliance.audit.recorder import open_recorder
    from appliance.gateway.service import serve as run

    home = get_home(ctx)
    settings = with_options(home, get_settings(home), host=host, port=port, engine=engine)

    def announce(url: str) -> None:
        emit({"ok": True, "base_url": url}, as_json=as_json, text=f"Serving on {url}")

    with open_recorder(home, "gateway") as recorder:
        run(home, settings, recorder, announce)
    return answer(ok=True)


def with_options(
    home: Home, settings: Settings, *, host: str | None, port: int | None, engine: str | None
) -> Settings:
    """Return the settings with what the command line names instead.

    Beyond loopback the machine's own certificate and address fill what the settings leave open.
    """
    from appliance.core.certificate import listening_values
    from appliance.core.settings import Settings as Whole

    value: dict[str, Any] = settings.model_dump(mode="python")
    own = settings.gateway
    value["gateway"] |= {k: v for k, v in (("host", host), ("port", port)) if v is not None}
    value["gateway"] |= listening_values(home, host or own.host, own, settings.host.address)
    value["inference"] |= {"engine": engine} if engine else {}
    return Whole.model_validate(value)


@serve.group()
def keys() -> None:
    """Make, list and revoke API keys."""


@keys.command()
@click.argument("principal")
@click.option(
    "--role",
    type=click.Choice(["app", "operator", "monitor"]),
    default="app",
    show_default=True,
    help="app asks; monitor reads metrics; operator does both.",
)
@click.option("--days", type=click.IntRange(1, 3650), help="Days until it expires (default: none).")
@json_option
@click.pass_context
def create(
    ctx: click.Context, *, principal: str, role: str, days: int | None, as_json: bool
) -> int:
    """Make a key for PRINCIPAL, an application's name. It is shown once."""
    from appliance.gateway.keys import PERMISSIONS

    wanted = next(r for r in PERMISSIONS if r == role)
    with _recorded(ctx, "users.key_create", {"principal": principal, "role": role}) as (store, act):
        key, record = store.create(principal, wanted, days)
        act.detail["key"] = record.id
    emit(
        {"ok": True, "key": key, **record.public()},
        as_json=as_json,
        text=f"{key}\nKey {record.id} of {principal}; it is not shown again.",
    )
    return answer(ok=True)


@keys.command(name="list")
@json_option
@click.pass_context
def list_(ctx: click.Context, *, as_json: bool) -> int:
    """List the keys, without their secrets."""
    from appliance.core.clock import SystemClock
    from appliance.gateway.keys import KeyStore

    records = KeyStore(get_home(ctx), SystemClock()).all()
    lines = [
        f"{r.id}  {r.role:8}  {r.principal:24}  made {r.created[:10]}"
        + (f"  expires {r.expires[:10]}" if r.expires else "")
        + (f"  revoked {r.revoked[:10]}" if r.revoked else "")
        for r in records
    ]
    emit(
        {"keys": [r.public() for r in records]},
        as_json=as_json,
        text="\n".join(lines) or "No keys: every request is refused.",
    )
    return answer(ok=True)


@keys.command()
@click.argument("identifier", metavar="ID")
@json_option
@click.pass_context
def revoke(ctx: click.Context, *, identifier: str, as_json: bool) -> int:
    """Revoke the key ID; it is refused from the next request on."""
    with _recorded(ctx, "users.key_revoke", {"key": identifier[:8]}) as (store, _):
        record = store.revoke(identifier)
    emit({"ok": True, **record.public()}, as_json=as_json, text=f"Key {identifier} is revoked.")
    return answer(ok=True)


@contextmanager
def _recorded(
    ctx: click.Context, action: str, detail: dict[str, Any]
) -> Iterator[tuple[KeyStore, Action]]:
    """Yield the key store and the action of the audit log that covers the change."""
    from appliance.audit.recorder import open_recorder
    from appliance.core.clock import SystemClock
    from appliance.gateway.keys import KeyStore

    home = get_home(ctx)
    with (
        open_recorder(home, "gateway") as recorder,
        recorder.action(action, detail=detail) as act,
    ):
        yield KeyStore(home, SystemClock()), act
