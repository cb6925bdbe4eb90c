"""``appliance backup``: create, verify, restore and drill encrypted backups."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from appliance.bundle.backup.header import Recipients, Secrets

FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
NEW = click.Path(path_type=Path)

passphrase_option = click.option(
    "--passphrase-file", type=FILE, help="The file whose first line is the passphrase."
)


def secret_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that name what opens a backup."""
    identity = click.option(
        "--identity", "identities", multiple=True, type=FILE, help="An identity file."
    )
    return identity(passphrase_option(command))


@click.group()
def backup() -> None:
    """Create, verify and restore encrypted backups of the appliance's state."""


def _first_line(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[0].strip() if lines else ""


def _secrets(identities: tuple[Path, ...], passphrase_file: Path | None) -> Secrets:
    from appliance.bundle.backup.header import IDENTITY, Secrets, parse_key

    raw = tuple(parse_key(_first_line(p), IDENTITY) for p in identities)
    if not raw and passphrase_file is None:
        raise click.UsageError("give --identity or --passphrase-file")
    return Secrets(raw, _first_line(passphrase_file) if passphrase_file else None)


def _recipients(texts: tuple[str, ...], passphrase_file: Path | None = None) -> Recipients:
    from appliance.bundle.backup.header import RECIPIENT, Recipients, parse_key

    raw = tuple(parse_key(t, RECIPIENT) for t in texts)
    return Recipients(raw, _first_line(passphrase_file) if passphrase_file else None)


@backup.command()
@click.argument("identity", type=NEW)
@json_option
def keygen(identity: Path, as_json: bool) -> int:
    """Make an identity file (keep it offline) and print its recipient line."""
    from appliance.bundle.backup.header import generate_identity
    from appliance.core.durable import write_bytes

    if identity.exists():
        raise click.UsageError(f"{identity} is there: identities are not replaced")
    private, public = generate_identity()
    write_bytes(identity, f"{private}\n".encode(), mode=0o600)
    emit({"ok": True, "recipient": public}, as_json=as_json, text=public)
    return 0


@backup.command()
@click.argument("out", type=NEW)
@click.option("--recipient", "recipients", multiple=True, help="A recipient line (repeatable).")
@click.option(
    "--escrow",
    multiple=True,
    help="Seal the keys for these recipients only; the other ones restore the rest.",
)
@passphrase_option
@json_option
@click.pass_context
def create(
    ctx: click.Context,
    out: Path,
    recipients: tuple[str, ...],
    escrow: tuple[str, ...],
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Write an encrypted backup to OUT; run the same command again after an interruption."""
    from appliance.audit.recorder import open_recorder
    from appliance.bundle.backup.create import Wish
    from appliance.bundle.backup.create import create as run
    from appliance.core.canonical import file_hash
    from appliance.core.progress import StderrProgress

    home = get_home(ctx)
    wish = Wish(
        out, _recipients(recipients, passphrase_file), _recipients(escrow) if escrow else None
    )
    settings = get_settings(home).backup
    with (
        open_recorder(home, "backup") as recorder,
        recorder.action("backup.create", detail={"escrow": bool(escrow)}) as act,
    ):
        done = run(home, wish, settings, StderrProgress("backup"))
        done["sha256"] = file_hash(out)
        act.detail |= {k: done[k] for k in ("files", "bytes", "sha256", "chunks_resumed")}
    text = f"{done['files']} files, {done['bytes']} bytes -> {out}\nsha256 {done['sha256']}"
    emit(done, as_json=as_json, text=text)
    return 0


@backup.command()
@click.argument("path", type=FILE)
@secret_options
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    path: Path,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Open every chunk and compare every file with the manifest; nothing is written."""
    from appliance.audit.recorder import open_recorder
    from appliance.bundle.backup.restore import verify as run
    from appliance.core.progress import StderrProgress

    home = get_home(ctx)
    held = _secrets(identities, passphrase_file)
    with (
        open_recorder(home, "backup") as recorder,
        recorder.action("backup.verify", detail={}) as act,
    ):
        done = run(path, held, get_settings(home).backup, StderrProgress("verify"))
        act.detail |= {"files": done["files"], "bytes": done["bytes"]}
    emit(done, as_json=as_json, text=f"good: {done['files']} files, {done['bytes']} bytes")
    return answer(done["ok"])


@backup.command()
@click.argument("path", type=FILE)
@click.option("--into", required=True, type=NEW, help="A folder that is absent or empty.")
@secret_options
@json_option
@click.pass_context
def restore(
    ctx: click.Context,
    path: Path,
    into: Path,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Restore a home into an empty folder, whole or not at all.

    The restored log goes on where the backup ends; its first entry is this restore.
    """
    from appliance.bundle.backup.restore import restore as run
    from appliance.core.home import Home
    from appliance.core.progress import StderrProgress

    settings = get_settings(get_home(ctx, prepare=False)).backup
    held = _secrets(identities, passphrase_file)
    done = run(path, into, held, settings, StderrProgress("restore"))
    if done["keys"]:
        from appliance.audit.recorder import open_recorder

        detail = {"files": done["files"], "bytes": done["bytes"]}
        with open_recorder(Home(into).prepare(), "backup") as recorder:
            recorder.event("backup.restore", detail=detail, outcome="success")
    text = f"{done['files']} files, {done['bytes']} bytes restored into {into}"
    if not done["keys"]:
        text += "\nthe keys are still sealed: run restore again with the escrow identity"
    emit(done, as_json=as_json, text=text)
    return 0


@backup.command()
@click.argument("path", type=FILE)
@secret_options
@json_option
@click.pass_context
def drill(
    ctx: click.Context,
    path: Path,
    identities: tuple[Path, ...],
    passphrase_file: Path | None,
    as_json: bool,
) -> int:
    """Try a restore: into a temporary folder, every file read back, the log verified."""
    from appliance.audit.recorder import open_recorder
    from appliance.audit.verify import Options, verify_home
    from appliance.bundle.backup.restore import drill as run

    home = get_home(ctx)
    held = _secrets(identities, passphrase_file)

    def check(audit: Path) -> dict[str, Any]:
        report = verify_home(audit, Options(processes=1))
        problems = [p.to_dict() for p in report.problems]
        return {"ok": report.ok, "size": report.size, "problems": problems}

    with (
        open_recorder(home, "backup") as recorder,
        recorder.action("backup.drill", detail={}) as act,
    ):
        done = run(path, held, get_settings(home).backup, home.run, check)
        act.detail |= {"files": done["files"], "damaged": len(done["damaged"])}
        if not done["ok"]:
            act.fail("the drill found faults")
    log = done["log"]
    text = (
        f"{'good' if done['ok'] else 'NOT GOOD'}: {done['files']} files read back, "
        f"{len(done['damaged'])} damaged; "
        f"log of {log['size'] if log else 0} entries {'verified' if log and log['ok'] else 'bad'}"
    )
    emit(done, as_json=as_json, text=text)
    return answer(done["ok"])
