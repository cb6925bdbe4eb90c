"""``appliance host``: plan, provision, verify and watch the machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option
from appliance.cli.host_autoinstall import autoinstall
from appliance.cli.host_certificate import certificate
from appliance.cli.host_egress import egress
from appliance.cli.host_vm import vm

if TYPE_CHECKING:
    from appliance.core.home import Home
    from appliance.core.settings.host import HostSettings
    from appliance.host.checks import Check

CONTENT_VARIABLE = "APPLIANCE_CONTENT"
DATE = click.DateTime(formats=["%Y-%m-%d"])
playbooks_option = click.option(
    "--playbooks",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the playbooks (default: those of the installed bundle).",
)


@click.group()
def host() -> None:
    """Plan, provision and verify the machine."""


host.add_command(vm)
host.add_command(egress)
host.add_command(autoinstall)
host.add_command(certificate)


def playbooks_folder(home: Home, named: Path | None) -> Path:
    """Return the folder of the playbooks: named, of the bundle, of the first agent, the source's.

    ``APPLIANCE_CONTENT`` names what was proven for the first installation (``setup.sh`` sets it).
    """
    from appliance.core.errors.host import PlaybookMissingError

    bundle = home.root / "bundle" / "current" / "content" / "playbooks"
    source = Path(__file__).resolve().parents[2] / "playbooks"
    first = Path(os.environ.get(CONTENT_VARIABLE, "/nonexistent")) / "playbooks"
    for folder in (named,) if named is not None else (bundle, first, source):
        if (folder / "site.yml").is_file():
            return folder.resolve()
    raise PlaybookMissingError(expected="site.yml", found=f"none in {named or bundle}")


def _look(site: HostSettings, playbooks: Path, parts: tuple[str, ...]) -> list[Check]:
    from appliance.core.clock import SystemClock
    from appliance.host.declaration import declaration
    from appliance.host.machine import LiveSystem
    from appliance.host.verify import PARTS, verify

    security = playbooks.parent / "security"
    return verify(
        LiveSystem(seconds=site.command_seconds),
        declaration(site, security / "firewall.yaml"),
        security / "exceptions.yaml",
        SystemClock().now().date(),
        parts or PARTS,
    )


def look_at_machine(home: Home, site: HostSettings) -> list[Check]:
    """Return what `host verify` finds with the installed playbooks' declarations."""
    return _look(site, playbooks_folder(home, None), ())


def _run_options(command: Any) -> Any:
    for option in (
        click.option(
            "--inventory",
            type=click.Path(path_type=Path, exists=True),
            help="Another machine, over SSH: an Ansible inventory (default: this machine).",
        ),
        click.option("--role", "roles", multiple=True, help="Only this role (repeatable)."),
        click.option("--date", "today", type=DATE, help="Today's date from a trusted clock."),
        playbooks_option,
    ):
        command = option(command)
    return command


def _ansible(home: Home, site: HostSettings, playbooks: Path) -> Any:
    from appliance.host.ansible_run import RunnerAnsible

    return RunnerAnsible(playbooks, home.root / "host", site.provision_timeout_s)


def _values(site: HostSettings, playbooks: Path, today: Any) -> dict[str, Any]:
    from appliance.core.clock import SystemClock
    from appliance.host.provision import site_values

    day = today.date() if today is not None else SystemClock().now().date()
    return site_values(site, playbooks.parent, day)


@host.command()
@_run_options
@json_option
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    inventory: Path | None,
    roles: tuple[str, ...],
    today: Any,
    playbooks: Path | None,
    as_json: bool,
) -> int:
    """Say what `provision` would change, and why; nothing is changed.

    Exit code 1 when it could not be done as things stand.
    """
    from appliance.audit.recorder import open_recorder
    from appliance.core.progress import StderrProgress
    from appliance.host.provision import Provisioner, plan_answer, plan_lines, reasons

    home = get_home(ctx)
    site = get_settings(home).host
    folder = playbooks_folder(home, playbooks)
    with open_recorder(home, "host") as recorder, recorder.action("host.plan") as act:
        worker = Provisioner(_ansible(home, site, folder), recorder, StderrProgress("plan"))
        tally = worker.plan(_values(site, folder, today), inventory=inventory, roles=roles)
        act.detail.update(would_change=tally.changed, problems=len(tally.failures))
    value = plan_answer(tally, reasons(folder, tally.roles))
    emit(value, as_json=as_json, text=lambda: "\n".join(plan_lines(value)))
    return answer(value["ok"])


@host.command()
@_run_options
@json_option
@click.pass_context
def provision(
    ctx: click.Context,
    /,
    inventory: Path | None,
    roles: tuple[str, ...],
    today: Any,
    playbooks: Path | None,
    as_json: bool,
) -> int:
    """Set the machine up; the same command again finishes what was interrupted.

    The answer is yes when the machine, looked at afterwards, is what was declared.
    """
    from appliance.audit.recorder import open_recorder
    from appliance.core.progress import StderrProgress
    from appliance.host.checks import as_answer, as_lines
    from appliance.host.provision import Provisioner

    home = get_home(ctx)
    site = get_settings(home).host
    folder = playbooks_folder(home, playbooks)
    values = _values(site, folder, today)
    with open_recorder(home, "host") as recorder, recorder.action("host.provision") as act:
        worker = Provisioner(
            _ansible(home, site, folder),
            recorder,
            StderrProgress("provision"),
            home.root / "host" / "provision.json",
        )
        tally = worker.provision(values, inventory=inventory, roles=roles)
        if inventory is None:
            looked = as_answer(checks := _look(site, folder, ()))
            text = as_lines(checks)
        else:
            there = worker.verify_there(values, inventory=inventory)
            looked = {"ok": not there.failures, "failures": [f.to_dict() for f in there.failures]}
            text = [f"{f.host}: {f.message}" for f in there.failures] or ["all as declared"]
        act.detail.update(changed=tally.changed, roles=len(tally.roles), verified=looked["ok"])
        if not looked["ok"]:
            act.fail("the machine is not what was declared")
    value = {
        "ok": looked["ok"],
        "changed": tally.changed,
        "roles": [role.to_dict() for role in tally.roles.values()],
        "verify": looked,
    }
    emit(value, as_json=as_json, text="\n".join([f"{tally.changed} changes", *text]))
    return answer(value["ok"])


@host.command()
@click.option(
    "--part",
    "parts",
    multiple=True,
    type=click.Choice(["storage", "network", "system", "engine", "nvidia", "exceptions"]),
    help="Only this part (repeatable).",
)
@playbooks_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context, /, parts: tuple[str, ...], playbooks: Path | None, as_json: bool
) -> int:
    """Look at the machine itself and say whether it is what was declared (as root)."""
    from appliance.host.checks import as_answer, as_lines

    home = get_home(ctx, prepare=False)
    site = get_settings(home).host
    checks = _look(site, playbooks_folder(home, playbooks), parts)
    value = as_answer(checks)
    emit(value, as_json=as_json, text=lambda: "\n".join(as_lines(checks)))
    return answer(value["ok"])


@host.command()
@click.option("--target", help="An address of this machine (default: host.address).")
@click.option(
    "--from",
    "source",
    help="The address the scan pretends to come from (default: a stranger's, 198.18.7.2).",
)
@playbooks_option
@json_option
@click.pass_context
def exposure(
    ctx: click.Context,
    /,
    target: str | None,
    source: str | None,
    playbooks: Path | None,
    as_json: bool,
) -> int:
    """Scan this machine from outside and compare with the declaration (as root).

    The scan starts in a network namespace of its own. Run it again after each restart of the
    container engine. Exit code 1 when a port differs from what is declared.
    """
    from appliance.audit.recorder import open_recorder
    from appliance.host.declaration import declaration
    from appliance.host.exposure import OUTSIDER, NamespaceVantage, compare

    home = get_home(ctx)
    site = get_settings(home).host
    at = target or site.address.partition("/")[0]
    if not at:
        raise click.UsageError("host.address is empty: give --target")
    policy = playbooks_folder(home, playbooks).parent / "security" / "firewall.yaml"
    declared = declaration(site, policy)
    with open_recorder(home, "host") as recorder, recorder.action("host.exposure") as act:
        found = compare(NamespaceVantage(site).scan(at, source or OUTSIDER), declared)
        act.detail.update(
            declared=len(found.declared),
            open=len(found.open),
            undeclared=len(found.undeclared),
            missing=len(found.missing),
        )
        if not found.ok:
            act.fail("exposure differs from the declaration")
    value = found.to_dict()
    lines = [f"open: {', '.join(value['open']) or 'nothing'}, as declared"]
    if not found.ok:
        lines = [f"{k}: {', '.join(value[k]) or 'none'}" for k in ("undeclared", "missing")]
    emit(value, as_json=as_json, text="\n".join(lines))
    return answer(found.ok)
