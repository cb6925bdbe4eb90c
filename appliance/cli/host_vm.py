"""``appliance host vm``: the appliance as a virtual machine on Proxmox VE."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, json_option
from appliance.core.errors import InputMissingError

if TYPE_CHECKING:
    from appliance.host.vm.service import Machines

SECRET_VARIABLE = "APPLIANCE_PROXMOX_TOKEN"  # noqa: S105 - the name of a variable


@click.group()
def vm() -> None:
    """Create, show and remove the appliance's virtual machine on Proxmox VE."""


def _access(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--server", required=True, help="Name or address of the Proxmox VE server."),
        click.option("--port", default=8006, show_default=True, help="Its port."),
        click.option("--token-id", required=True, help="user@realm!name of the API token."),
        click.option(
            "--token-file",
            type=click.Path(path_type=Path),
            help=f"File with the token's secret (default: ${SECRET_VARIABLE}).",
        ),
        click.option("--ca", type=click.Path(), help="The server's certificate or its authority."),
        click.option("--timeout", default=15.0, show_default=True, help="Seconds for one call."),
    ):
        command = option(command)
    return command


def _machines(ctx: click.Context, stack: Any, **access: Any) -> Machines:
    from appliance.audit.recorder import open_recorder
    from appliance.core.durable import os_errors
    from appliance.host.vm.client import Access, ProxmoxerClient
    from appliance.host.vm.service import Machines

    path: Path | None = access["token_file"]
    if path is not None:
        with os_errors(path):
            secret = path.read_text(encoding="utf-8").strip()
    else:
        secret = os.environ.get(SECRET_VARIABLE, "")
    if not secret:
        raise InputMissingError(
            expected=f"the token's secret in --token-file or ${SECRET_VARIABLE}", found="none"
        )
    client = ProxmoxerClient(
        Access(
            access["server"],
            access["token_id"],
            secret,
            ca=access["ca"],
            port=access["port"],
            timeout_s=access["timeout"],
        )
    )
    return Machines(client, stack.enter_context(open_recorder(get_home(ctx), "host")))


@vm.command()
@click.argument("spec", type=click.Path(path_type=Path))
@click.option("--plan", "plan_only", is_flag=True, help="Only say what would be done.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_access
@json_option
@click.pass_context
def create(
    ctx: click.Context, /, spec: Path, plan_only: bool, yes: bool, as_json: bool, **access: Any
) -> int:
    """Make the machine that SPEC (a YAML file) describes; again changes nothing.

    With --plan: exit code 1 when it could not be made as things stand.
    """
    import contextlib

    from appliance.host.vm.spec import load_spec

    with contextlib.ExitStack() as stack:
        machines = _machines(ctx, stack, **access)
        wanted = load_spec(spec)
        found = machines.plan(wanted)
        if plan_only or not found.problems:
            click.echo(_plan_text(found.to_dict()), err=not plan_only or as_json)
        if plan_only:
            emit(found.to_dict(), as_json=as_json)
            return answer(not found.problems)
        if not found.problems and found.kind != "keep" and not yes:
            click.confirm("Do this?", abort=True, err=True)
        done = machines.create(wanted)
    emit(done, as_json=as_json, text=f"machine {done['vmid']}: {done['action']}")
    return answer(ok=True)


@vm.command()
@click.argument("name")
@click.option("--node", default="", help="Its node, where the server does not say.")
@_access
@json_option
@click.pass_context
def status(ctx: click.Context, /, name: str, node: str, as_json: bool, **access: Any) -> int:
    """Say what the machine NAME is and does; exit code 1 when there is none."""
    import contextlib

    with contextlib.ExitStack() as stack:
        value = _machines(ctx, stack, **access).status(node, name)
    lines = [f"{key:<8} {val}" for key, val in value.items()]
    emit(value, as_json=as_json, text="\n".join(lines))
    return answer(value["exists"])


@vm.command()
@click.argument("name")
@click.option("--confirm", help="The name again: without it the command asks.")
@_access
@json_option
@click.pass_context
def destroy(
    ctx: click.Context, /, name: str, confirm: str | None, as_json: bool, **access: Any
) -> int:
    """Remove the stopped machine NAME and its disks, if this command made it."""
    import contextlib

    typed = confirm or click.prompt(
        f"This removes {name} and all its disks for good. Type its name", err=True
    )
    if typed != name:
        click.echo("The names differ: nothing was removed.", err=True)
        return answer(ok=False)
    with contextlib.ExitStack() as stack:
        value = _machines(ctx, stack, **access).destroy(name)
    emit(value, as_json=as_json, text="removed" if value["changed"] else "there is no such machine")
    return answer(ok=True)


def _plan_text(plan: dict[str, Any]) -> str:
    lines = [f"plan: {plan['action']}" + (f" machine {plan['vmid']}" if plan["vmid"] else "")]
    lines += [f"  because {reason}" for reason in plan["reasons"]]
    lines += [f"  set   {key} = {value}" for key, value in plan["set"].items()]
    lines += [f"  unset {key}" for key in plan["unset"]]
    lines += [f"  PROBLEM: {problem}" for problem in plan["problems"]]
    return "\n".join(lines)
