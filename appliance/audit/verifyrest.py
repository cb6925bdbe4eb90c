"""Verification of what stands beside the shards: witnesses' words, cut-off tails, strays."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from appliance.audit.bundles import Problem
from appliance.audit.layout import INDEX, KEYS, REMOVED, RESERVE, WITNESSES, shards
from appliance.audit.note import Verifier, open_checkpoint
from appliance.audit.verifyjob import LogCheck
from appliance.audit.witness import WitnessBook, consistent_with
from appliance.core.durable import TEMP_PREFIX
from appliance.core.errors import ApplianceError

_KNOWN = {KEYS, RESERVE, WITNESSES, REMOVED}


def check_rest(
    audit: Path, checks: Sequence[LogCheck], problems: list[Problem], notes: list[Problem]
) -> None:
    """Check everything in the audit folder that is no shard, key, reserve or search index."""
    _check_removed(audit / REMOVED, problems)
    _check_witnesses(audit, checks, problems)
    names = {check.folder.name for check in checks}
    for path in sorted(audit.iterdir()):
        name = path.name
        if name in names | _KNOWN or name.startswith(INDEX):
            continue
        if name.startswith(TEMP_PREFIX):
            notes.append(Problem("unfinished", name, "an interrupted write"))
        else:
            problems.append(Problem("stray", name, "the audit folder has no such file"))


def _check_removed(folder: Path, problems: list[Problem]) -> None:
    """A tail that was cut off is kept under its own hash."""
    kept = sorted(folder.iterdir()) if folder.is_dir() else []
    problems += [
        Problem("edit", f"{REMOVED}/{path.name}", "is not what was cut off")
        for path in kept
        if path.name != f"{hashlib.sha256(path.read_bytes()).hexdigest()}.bin"
    ]


def _check_witnesses(audit: Path, checks: Sequence[LogCheck], problems: list[Problem]) -> None:
    """Every witnessed checkpoint is truly signed, and the log extends it."""
    book = WitnessBook(audit / WITNESSES)
    if not book.folder.is_dir():
        return
    try:
        witnesses = book.policy().witnesses
        if witnesses and not 1 <= book.policy().needed <= len(witnesses):
            what = "needs a number of witnesses it does not have"
            problems.append(Problem("edit", f"{WITNESSES}/witnesses.json", what))
        logs = {shard.folder.name: shard.verifier for shard in shards(audit)}
    except (ApplianceError, KeyError, TypeError, ValueError) as error:
        problems.append(Problem("edit", WITNESSES, f"unreadable: {type(error).__name__}"))
        return
    for check in checks:
        verifier = logs[check.folder.name]
        for witness in witnesses:
            try:
                seen = book.last(verifier, witness).checkpoint
            except ApplianceError as error:
                problems.append(Problem("edit", f"{WITNESSES}: {witness.name}", error.found))
                continue
            trouble = seen and consistent_with(check.folder, check.size, seen)
            if trouble:
                name = "older-copy" if trouble.startswith("rollback") else trouble.split(":")[0]
                problems.append(Problem(name, f"{check.folder.name}: {witness.name}", trouble))
    _check_requests(book.folder / "pending", list(logs.values()), problems)


def _check_requests(folder: Path, keys: Sequence[Verifier], problems: list[Problem]) -> None:
    """What was asked of witnesses is a checkpoint of this log."""
    asked = sorted(folder.iterdir()) if folder.is_dir() else []
    problems += [
        Problem("edit", f"{WITNESSES}/pending/{path.name}", "is not signed by this log")
        for path in asked
        if not any(_opens(path.read_bytes(), key) for key in keys)
    ]


def _opens(data: bytes, key: Verifier) -> bool:
    try:
        _, note, _ = open_checkpoint(data, key)
    except ApplianceError:
        return False
    return note.encode() == data
