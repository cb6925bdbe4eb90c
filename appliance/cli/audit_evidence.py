"""The officers' commands of `appliance audit`: proofs, evidence, erasure, pseudonyms.

Witness, export, retention and collection stand in ``audit_witness`` and ``audit_export``.
"""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from appliance.cli.audit_export import collect, export, retention
from appliance.cli.audit_witness import witness
from appliance.cli.common import answer, emit, get_home, get_settings, json_option

if TYPE_CHECKING:
    from appliance.audit.officer import Officer

FIELDS = (
    "action",
    "break_glass",
    "component",
    "ip",
    "model",
    "object_id",
    "outcome",
    "patient",
    "phase",
    "purpose",
    "request_id",
    "role",
    "session",
    "user",
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class Moment(click.ParamType[str]):
    """A time with its zone (``2026-03-01T08:00-03:00``) or a day; without a zone it is UTC."""

    name = "time"

    def __init__(self, *, end: bool = False) -> None:
        """With ``end`` a day means its last microsecond."""
        self.end = end

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time as entries write it."""
        from appliance.audit.officer import utc

        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail("a time like 2026-03-01T08:00-03:00 or a day like 2026-03-01", param, ctx)
        if self.end and _DAY.fullmatch(str(value)):
            moment += timedelta(days=1, microseconds=-1)
        return utc(moment)


def officer_of(ctx: click.Context, recorder: Any) -> Officer:
    """Return the officer who runs this command."""
    from appliance.audit.officer import Officer
    from appliance.core.clock import SystemClock

    home = get_home(ctx)
    return Officer(home, get_settings(home).audit, recorder, SystemClock())


@click.command()
@click.option("--index", type=click.IntRange(0), help="The entry's index.")
@click.option("--log", type=click.IntRange(1), help="Number of the shard (default: the newest).")
@click.option("--id", "ident", help="The entry's id instead of its index.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="The proof file."
)
@click.option(
    "--check",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Check this proof against --entry and --vkey instead of making one.",
)
@click.option(
    "--entry", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="For --check."
)
@click.option("--vkey", help="For --check: the log's key (default: this home's).")
@json_option
@click.pass_context
def prove(ctx: click.Context, /, *, as_json: bool, **given: Any) -> int:
    """Write a proof (C2SP tlog-proof) that one entry is in the log, or check one."""
    if given["check"]:
        return _check(ctx, given, as_json=as_json)
    if (given["index"] is None) == (given["ident"] is None):
        raise click.UsageError("name the entry by --index or by --id")
    from appliance.audit.officer import place_of
    from appliance.audit.recorder import open_recorder

    home = get_home(ctx)
    log, index = given["log"], given["index"]
    if given["ident"]:
        log, index = place_of(home, given["ident"])
    target = given["output"] or Path(f"entry-{index}.tlog-proof")
    with open_recorder(home, "cli") as recorder:
        value = officer_of(ctx, recorder).prove(log, index, target)
    seen = ", ".join(value["witnesses"]) or "no witness yet"
    text = f"entry {index} of {value['log']} is proved by {target} ({seen})"
    emit({"ok": True, **value}, as_json=as_json, text=text)
    return 0


def _check(ctx: click.Context, given: dict[str, Any], *, as_json: bool) -> int:
    from appliance.audit.note import Verifier
    from appliance.audit.officer import book_of, check_proof_files, logs_of
    from appliance.audit.proof import cosignatures, verify_proof

    if given["entry"] is None:
        raise click.UsageError("--check needs --entry")
    home = get_home(ctx, prepare=False)
    proof, entry = check_proof_files(given["check"], given["entry"])
    if given["vkey"]:
        keys = [Verifier.parse(given["vkey"])]
    else:
        keys = [shard.verifier for shard in reversed(logs_of(home))]
    witnesses = book_of(home).policy().witnesses
    verdicts = [verify_proof(proof, entry, key, witnesses) for key in keys]
    best = next((v for v in verdicts if v.ok), verdicts[0])
    seen = [{"witness": name, "time": at} for name, at in cosignatures(best.cosigned)]
    value = {"ok": best.ok, "reason": best.reason, "index": best.index, "witnesses": seen}
    emit(value, as_json=as_json, text=f"{best.reason} (entry {best.index})")
    return answer(best.ok)


def _where(patients: tuple[str, ...], queries: tuple[str, ...]) -> dict[str, list[str | bool]]:
    where: dict[str, list[str | bool]] = {"patient": list(patients)} if patients else {}
    for text in queries:
        name, separator, value = text.partition("=")
        if not separator or name not in FIELDS:
            raise click.UsageError(f"--query takes name=value with one of {', '.join(FIELDS)}")
        truth = name == "break_glass"
        where.setdefault(name, []).append(value == "true" if truth else value)
    return where


@click.command()
@click.option("--patient", multiple=True, help="Patient pseudonym.")
@click.option("--ask-patient", is_flag=True, help="Ask for the patient's number; it is not kept.")
@click.option("--from", "since", type=Moment(), help="Start of the period.")
@click.option("--to", "until", type=Moment(end=True), help="End of the period (default: now).")
@click.option("--query", multiple=True, help="name=value, such as user=ana or break_glass=true.")
@click.option(
    "--inclusion-only",
    is_flag=True,
    help="Only the entries asked for: shows no others, and not that there are none.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True)
@json_option
@click.pass_context
def evidence(ctx: click.Context, /, *, output: Path, as_json: bool, **given: Any) -> int:
    """Write a zip that proves which accesses there were, complete, and verifies by itself."""
    from appliance.audit.evidence import Question
    from appliance.audit.recorder import open_recorder
    from appliance.core.progress import StderrProgress

    home = get_home(ctx)
    patients = tuple(given["patient"])
    if given["ask_patient"]:
        patients += tuple(_ask_patient(home))
    question = Question(given["since"], given["until"], _where(patients, given["query"]))
    kind: Any = "inclusion" if given["inclusion_only"] else "complete"
    progress = StderrProgress("evidence")
    with open_recorder(home, "cli") as recorder, contextlib.closing(progress):
        value = officer_of(ctx, recorder).evidence(question, kind, output, progress)
    text = (
        f"{value['matches']} entries answer, {value['entries']} are shown, in {output}\n"
        f"sha256 {value['sha256']}\n"
        + (
            f"{value['witnesses']} witnesses signed a state that covers the period\n"
            if value["witnesses"]
            else "no witness signed a state that covers the period yet: let one sign, ask again\n"
        )
        + "verify it anywhere with: python3 verify.py"
    )
    emit({"ok": True, **value}, as_json=as_json, text=text)
    return 0


def _ask_patient(home: Any) -> list[str]:
    from appliance.audit.pseudonym import Pseudonyms

    number = click.prompt("patient number", hide_input=True, err=True)
    try:
        found = Pseudonyms(home).candidates(number)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if not found:
        raise click.UsageError("no pseudonym was ever made on this machine")
    return found


@click.command()
@json_option
@click.pass_context
def pseudonym(ctx: click.Context, as_json: bool) -> int:
    """Ask for a patient's number and print the pseudonyms it has in the log (one a key)."""
    from appliance.audit.recorder import open_recorder

    home = get_home(ctx)
    with open_recorder(home, "cli") as recorder:
        found = _ask_patient(home)
        recorder.event("audit.pseudonym", patient=found[-1], crude="R")
    emit({"ok": True, "pseudonyms": found}, as_json=as_json, text="\n".join(found))
    return 0


@click.command()
@click.option("--subject", required=True, help="Patient pseudonym.")
@click.option("--yes", is_flag=True, help="Do not ask; nothing can undo it.")
@json_option
@click.pass_context
def erase(ctx: click.Context, subject: str, yes: bool, as_json: bool) -> int:
    """Destroy the key of a subject's details for ever; every entry and proof stays."""
    from appliance.audit.erase import Subjects
    from appliance.audit.recorder import open_recorder

    if not yes:
        click.confirm(f"destroy the key of {subject} for ever?", abort=True, err=True)
    home = get_home(ctx)
    with open_recorder(home, "cli") as recorder:
        done = Subjects(home).erase(subject, recorder)
    value = {"ok": True, "subject": done.subject, "index": done.index}
    emit(value, as_json=as_json, text=f"the key is destroyed; entry {done.index} says so")
    return 0


commands: list[click.Command] = [
    collect,
    erase,
    evidence,
    export,
    prove,
    pseudonym,
    retention,
    witness,
]
