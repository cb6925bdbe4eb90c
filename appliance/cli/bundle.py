"""``appliance bundle``: build, verify, repair, inspect, install, update, roll back."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.bundle_keys import ask_secret, keys, passphrase_option
from appliance.cli.bundle_text import afterwards, built, inspected, verified
from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.bundle.install.installer import Installer
    from appliance.bundle.install.request import Request
    from appliance.bundle.service import Context

FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_DATE = click.DateTime(["%Y-%m-%d"])

fingerprint_option = click.option(
    "--fingerprint", metavar="HEX", help="The root fingerprint from paper."
)
date_option = click.option(
    "--date", "attested", type=_DATE, help="Today's date, attested by you (YYYY-MM-DD)."
)


@click.group()
def bundle() -> None:
    """Build, verify, inspect and install the signed medium.

    Nothing on a medium is unpacked, loaded or run before its bytes are proven.
    """


bundle.add_command(keys)


def _context(ctx: click.Context, label: str) -> Context:
    from appliance.audit.recorder import open_recorder
    from appliance.bundle.install.store import Store
    from appliance.bundle.service import Context
    from appliance.core.clock import SystemClock
    from appliance.core.progress import StderrProgress

    home = get_home(ctx)
    recorder = ctx.with_resource(open_recorder(home, "bundle"))
    limits = get_settings(home).bundle
    return Context(Store(home), limits, recorder, SystemClock(), StderrProgress(label))


def _installer(ctx: click.Context, label: str) -> Installer:
    from appliance.bundle.install.installer import Installer, Tools
    from appliance.bundle.install.leftovers import DockerEngine
    from appliance.bundle.install.lifecycle import ProcessRunner
    from appliance.bundle.install.preflight import MachineProbe
    from appliance.bundle.install.restart import SystemdUnits

    context = _context(ctx, label)
    home = context.store.home
    tools = Tools(
        *(context.recorder, context.clock, MachineProbe(home), ProcessRunner(home)),
        *(DockerEngine(), SystemdUnits(home, context.limits), context.progress),
    )
    return Installer(home, context.limits, tools)


@bundle.command()
@click.option("--recipe", required=True, help="A recipe file, or the name of a shipped recipe.")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False))
@click.option("--sequence", required=True, type=click.IntRange(min=1), help="Higher than before.")
@click.option("--root", "roots", required=True, multiple=True, type=FILE, help="Signed root files.")
@click.option("--targets-key", required=True, type=FILE)
@click.option("--snapshot-key", type=FILE, help="Default: the targets key.")
@click.option("--timestamp-key", type=FILE, help="Default: the snapshot key.")
@click.option("--input", "inputs", type=FOLDER, default=".", help="Where recipe paths begin.")
@click.option("--images", type=FOLDER, help="Folder with NAME.oci.tar; none: no images.")
@click.option("--work", type=click.Path(path_type=Path, file_okay=False), help="Kept downloads.")
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    help="What `./run images` compiled and kept (default: in the work folder).",
)
@click.option("--advisories", type=FILE, help="An OSV file of known advisories to carry.")
@click.option("--base", type=FOLDER, help="Make a difference bundle against this earlier one.")
@click.option("--dated-archive", is_flag=True, help="The package archive is a dated snapshot.")
@passphrase_option
@json_option
def build(  # one option a line of the help
    recipe: str,
    out: Path,
    sequence: int,
    roots: tuple[Path, ...],
    targets_key: Path,
    snapshot_key: Path | None,
    timestamp_key: Path | None,
    inputs: Path,
    images: Path | None,
    work: Path | None,
    cache: Path | None,
    advisories: Path | None,
    base: Path | None,
    dated_archive: bool,
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Collect what a recipe names on a connected machine and write a signed medium."""
    from appliance.bundle.build import Plan
    from appliance.bundle.build import build as run_build
    from appliance.bundle.collect.common import BuildShell
    from appliance.bundle.keyfile import load_signer
    from appliance.bundle.recipe import load_recipe
    from appliance.bundle.writer import Signers
    from appliance.core.clock import SystemClock
    from appliance.core.progress import StderrProgress
    from appliance.core.settings.bundle import BundleSettings

    ask = ask_secret(passphrase_file)
    second = snapshot_key or targets_key
    paths = (targets_key, second, timestamp_key or second)
    opened = {p: load_signer(p, ask) for p in set(paths)}
    signers = Signers([p.read_bytes() for p in roots], *(opened[p] for p in paths))
    store = (work or out.with_name(out.name + ".work")).absolute()
    chosen = load_recipe(recipe)
    plan = Plan(
        *(chosen, inputs.absolute(), store, out, sequence, base, dated_archive),
        images=images,
        cache=cache.absolute() if cache else None,
        advisories=advisories,
    )
    tools = (BuildShell(store / "build.log"), SystemClock(), StderrProgress("build"))
    done = run_build(plan, signers, BundleSettings(), tools)
    emit(done, as_json=as_json, text=lambda: built(done))
    return answer(done["ok"])


def _day(attested: datetime | None) -> Any:
    return attested.date() if attested else None


@bundle.command()
@click.argument("medium", type=FOLDER)
@fingerprint_option
@date_option
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    medium: Path,
    fingerprint: str | None,
    attested: datetime | None,
    as_json: bool,
) -> int:
    """Check every byte, and that nothing unlisted lies on the medium."""
    from appliance.bundle.medium import FolderMedium
    from appliance.bundle.service import run_verify

    found = run_verify(_context(ctx, "verify"), FolderMedium(medium), fingerprint, _day(attested))
    emit(found, as_json=as_json, text=lambda: verified(found))
    return answer(found["ok"])


@bundle.command()
@click.argument("medium", type=FOLDER)
@click.option("--from", "other", required=True, type=FOLDER, help="A second, good medium.")
@fingerprint_option
@date_option
@json_option
@click.pass_context
def repair(
    ctx: click.Context,
    medium: Path,
    other: Path,
    fingerprint: str | None,
    attested: datetime | None,
    as_json: bool,
) -> int:
    """Copy only the damaged blocks from a second medium."""
    from appliance.bundle.service import run_repair

    done = run_repair(_context(ctx, "repair"), (medium, other), fingerprint, _day(attested))
    text = (
        f"copied {len(done['blocks_copied'])} blocks ({done['bytes_copied']} bytes) and "
        f"{len(done['metadata_copied'])} metadata files; {len(done['faults'])} faults left"
    )
    emit(done, as_json=as_json, text=text)
    return answer(done["ok"])


@bundle.command()
@click.argument("medium", type=FOLDER, required=False)
@click.option("--sbom", is_flag=True, help="Print the CycloneDX SBOM.")
@click.option("--advisories", type=FILE, help="An OSV file newer than the one on the medium.")
@fingerprint_option
@date_option
@json_option
@click.pass_context
def inspect(
    ctx: click.Context,
    medium: Path | None,
    sbom: bool,
    advisories: Path | None,
    fingerprint: str | None,
    attested: datetime | None,
    as_json: bool,
) -> int:
    """List content, versions, differences to what is installed, and known advisories.

    Without MEDIUM it looks at the installed version.
    """
    from appliance.bundle.inspection import inspect_bundle, read_proven

    context = _context(ctx, "inspect")
    day = _day(attested)
    if sbom:
        click.echo(read_proven(context, medium, "sbom.cdx.json", fingerprint, day).decode())
        return 0
    newer = advisories.read_bytes() if advisories else None
    found = inspect_bundle(context, medium, newer, fingerprint, day)
    emit(found, as_json=as_json, text=lambda: inspected(found))
    return 0


def _request(fingerprint: str | None, attested: datetime | None, exception: Path | None) -> Request:
    from appliance.bundle.install.request import Request

    return Request(fingerprint, _day(attested), exception.read_bytes() if exception else None)


def _change(ctx: click.Context, kind: str, medium: Path, request: Request, as_json: bool) -> int:
    from appliance.bundle.medium import FolderMedium

    done = _installer(ctx, kind).install(FolderMedium(medium), request, kind)
    text = f"{kind}: {done['version']} is in use and healthy (before: {done['earlier']})"
    emit(done, as_json=as_json, text="\n".join([text, *afterwards(done)]))
    return answer(done["ok"])


exception_option = click.option(
    "--exception", type=FILE, help="A downgrade exception signed by the root keys."
)


@bundle.command()
@click.argument("medium", type=FOLDER)
@fingerprint_option
@date_option
@exception_option
@json_option
@click.pass_context
def install(
    ctx: click.Context,
    medium: Path,
    fingerprint: str | None,
    attested: datetime | None,
    exception: Path | None,
    as_json: bool,
) -> int:
    """Prove, stage, activate, switch and health-check the bundle on MEDIUM."""
    return _change(ctx, "install", medium, _request(fingerprint, attested, exception), as_json)


@bundle.command()
@click.argument("medium", type=FOLDER)
@fingerprint_option
@date_option
@exception_option
@json_option
@click.pass_context
def update(
    ctx: click.Context,
    medium: Path,
    fingerprint: str | None,
    attested: datetime | None,
    exception: Path | None,
    as_json: bool,
) -> int:
    """Change to the newer bundle on MEDIUM; an unhealthy one is rolled back by itself."""
    return _change(ctx, "update", medium, _request(fingerprint, attested, exception), as_json)


@bundle.command()
@click.option("--to", help="A version that `bundle versions` lists (default: the one before).")
@click.option("--saved-state", is_flag=True, help="Put back the state copied before the update.")
@json_option
@click.pass_context
def rollback(ctx: click.Context, to: str | None, saved_state: bool, as_json: bool) -> int:
    """Go back to a version kept on disk."""
    done = _installer(ctx, "rollback").rollback(to, saved_state=saved_state)
    text = f"{done['version']} is in use (before: {done['earlier']})"
    emit(done, as_json=as_json, text="\n".join([text, *afterwards(done)]))
    return answer(done["ok"])


@bundle.command()
@json_option
@click.pass_context
def recover(ctx: click.Context, as_json: bool) -> int:
    """Undo or finish a change that a power cut stopped; run this at boot.

    It also compares kernel, driver and container toolkit with the tuple the current version was
    tested with; exit code 1 when one is older.
    """
    installer = _installer(ctx, "recover")
    said = installer.recover()
    found = installer.standing()
    ok = all(c.ok for c in found)
    value = {"ok": ok, "done": said, "tuple": [vars(c) for c in found]}
    lines = [said or "nothing was under way"]
    lines += [f"{c.name}: {c.detail}; {c.fix}" for c in found if not c.ok]
    emit(value, as_json=as_json, text="\n".join(lines))
    return answer(ok)


@bundle.command()
@json_option
@click.pass_context
def versions(ctx: click.Context, as_json: bool) -> int:
    """List the versions kept on disk."""
    from appliance.bundle.install.store import Store

    store = Store(get_home(ctx))
    current = store.current()
    found = [
        {"version": v.id, "current": current is not None and v.id == current.id, **v.record()}
        for v in store.versions()
    ]
    lines = [f"{'*' if v['current'] else ' '} {v['version']}  {v['installed']}" for v in found]
    emit({"ok": True, "versions": found}, as_json=as_json, text="\n".join(lines) or "none")
    return 0


@bundle.command()
@click.argument("medium", type=FOLDER)
@json_option
def bench(medium: Path, as_json: bool) -> int:
    """Measure verify against hashlib over the same bytes, on one core and on two."""
    from appliance.bundle.bench import measure

    found = measure(medium)
    text = "\n".join(f"{k:<24} {v}" for k, v in found.items())
    emit(found, as_json=as_json, text=text)
    return 0
