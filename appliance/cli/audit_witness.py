"""`appliance audit witness`: an officer's offline device sees and signs the log's state."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.audit.evidence import Part
    from appliance.audit.witness import Witnessed
    from appliance.core.home import Home


@click.group()
def witness() -> None:
    """Have the log's state signed by an officer's offline device, and see how old that is."""


def _part(home: Home, number: int | None) -> Part:
    """Return the shard of that number (the newest without one) under its current checkpoint."""
    from appliance.audit.evidence import Part
    from appliance.audit.officer import let_sign, logs_of

    let_sign(home)
    found = logs_of(home)
    if number is not None and number > len(found):
        raise click.UsageError(f"the log has {len(found)} shards")
    return Part(found[(number or len(found)) - 1])


@witness.command()
@click.argument("vkey")
@json_option
@click.pass_context
def trust(ctx: click.Context, vkey: str, as_json: bool) -> int:
    """Accept a witness's key (what `witness.py init` printed on the officer's device)."""
    from appliance.audit.note import Verifier
    from appliance.audit.officer import book_of
    from appliance.audit.recorder import open_recorder

    home = get_home(ctx)
    name = Verifier.parse(vkey).name
    with (
        open_recorder(home, "cli") as recorder,
        recorder.action("audit.witness_trust", crude="U", detail={"witness": name}),
    ):
        book_of(home).trust(vkey)
    emit({"ok": True, "witness": name}, as_json=as_json, text=f"{name} is accepted")
    return 0


@witness.command()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The request file."
)
@click.option(
    "--qr", type=click.Path(path_type=Path, dir_okay=False), help="Also as a .png or .svg picture."
)
@click.option("--show", is_flag=True, help="Also as a QR code on this terminal.")
@click.option("--log", type=click.IntRange(1), help="Number of the shard (default: the newest).")
@click.option("--old", type=click.IntRange(0), help="Size the witness saw last, when it says so.")
@json_option
@click.pass_context
def request(ctx: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """Make the request that the officer's device checks and signs."""
    from appliance.audit.officer import book_of
    from appliance.audit.qr import save_qr, terminal_qr
    from appliance.audit.recorder import open_recorder
    from appliance.core.durable import write_bytes

    home = get_home(ctx)
    with open_recorder(home, "cli") as recorder:
        recorder.event("audit.witness_request", crude="R")
    part = _part(home, given["log"])
    body = book_of(home).request(part.key, part.note.encode(), part.read, given["old"])
    target = given["output"] or Path(f"witness-request-{part.size}.txt")
    write_bytes(target, body)
    if given["qr"]:
        save_qr(body, given["qr"])
    if given["show"]:
        click.echo(terminal_qr(body), err=True)
    value = {"ok": True, "size": part.size, "log": part.key.name, "path": str(target)}
    text = f"{target}: the state of {part.key.name} with {part.size} entries\n{part.key.vkey}"
    emit({**value, "vkey": part.key.vkey}, as_json=as_json, text=text)
    return 0


def _accept(home: Home, data: bytes) -> list[Witnessed]:
    """Take an answer for whichever shard it was asked about, the newest first."""
    from appliance.audit.officer import book_of, logs_of
    from appliance.core.errors import AuditWitnessRefusedError

    refused: AuditWitnessRefusedError | None = None
    for shard in reversed(logs_of(home)):
        try:
            return book_of(home).accept(shard.verifier, data)
        except AuditWitnessRefusedError as error:
            refused = refused or error
    assert refused is not None
    raise refused


@witness.command("import")
@click.argument("answer_file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@json_option
@click.pass_context
def import_answer(ctx: click.Context, answer_file: Path, as_json: bool) -> int:
    """Take the device's answer and keep it with the log."""
    from appliance.audit.recorder import open_recorder

    home = get_home(ctx)
    with (
        open_recorder(home, "cli") as recorder,
        recorder.action("audit.witness_import", crude="C") as act,
    ):
        taken = _accept(home, answer_file.read_bytes())
        newest = max(taken, key=lambda item: item.time)
        assert newest.checkpoint is not None
        act.detail.update(witness=newest.witness.name, size=newest.checkpoint.size)
    value = {"ok": True, "witness": newest.witness.name, "size": newest.checkpoint.size}
    when = datetime.fromtimestamp(newest.time, UTC).isoformat()
    text = f"{newest.witness.name} saw {newest.checkpoint.size} entries at {when}"
    emit({**value, "time": newest.time}, as_json=as_json, text=text)
    return 0


@witness.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> int:
    """Say how old each witness's word is; exit code 1 when stale, missing or contradicted."""
    from appliance.audit.officer import let_sign, witness_status
    from appliance.core.clock import SystemClock

    home = get_home(ctx, prepare=False)
    let_sign(home)
    found = witness_status(home, get_settings(home).audit, SystemClock())
    ok = bool(found) and not any(line.stale or line.problem for line in found)
    lines = [_line(item) for item in found] or ["no witness is accepted yet"]
    value = {"ok": ok, "witnesses": [item.to_dict() for item in found]}
    emit(value, as_json=as_json, text="\n".join(lines))
    return answer(ok)


def _line(item: Any) -> str:
    if item.problem:
        return f"{item.witness}: {item.problem}"
    if item.age_s is None:
        return f"{item.witness}: never signed this log"
    state = "STALE" if item.stale else "fresh"
    text = f"{item.witness}: {state}, {item.age_s / 3600:.1f} h ago, {item.behind} entries since"
    if item.newest_signed:
        return text
    return f"{text}; signed {item.log}, not yet {item.newest}, which followed it"


@witness.command()
@click.argument("target", type=click.Path(path_type=Path, dir_okay=False), default="witness.py")
@click.option("--verifier", is_flag=True, help="Write verify.py, the evidence verifier, instead.")
@json_option
@click.pass_context
def script(ctx: click.Context, target: Path, verifier: bool, as_json: bool) -> int:
    """Write the single file for the officer's device (Python 3.8, nothing to install)."""
    from appliance.audit.standalone.assemble import assemble
    from appliance.core.canonical import sha256_hex
    from appliance.core.durable import write_bytes

    get_home(ctx, prepare=False)
    data = assemble("verify" if verifier else "witness")
    write_bytes(target, data, mode=0o755)
    value = {"ok": True, "path": str(target), "sha256": sha256_hex(data)}
    emit(value, as_json=as_json, text=f"{target}  sha256 {value['sha256']}")
    return 0
