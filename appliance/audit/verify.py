"""`audit verify`: read every byte of the log again and believe none of it without a reason.

For each shard: the signature of the checkpoint, every entry bundle against its tile, every tile
against the one above, the root, the write-ahead file against the checkpoint, files that should
not be there; then the chain of shards, kept and witnessed checkpoints, the key, the reserve.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from appliance.audit.bundles import Problem
from appliance.audit.indexcheck import check_index
from appliance.audit.keys import FileKeys
from appliance.audit.keys_tpm2 import read_sealed
from appliance.audit.layout import INDEX, KEYS, RESERVE, Shard, shards
from appliance.audit.note import Checkpoint, Note, Verifier, open_checkpoint
from appliance.audit.verifyjob import LogCheck
from appliance.audit.verifylog import check_log
from appliance.audit.verifyrest import check_rest
from appliance.core.durable import os_errors
from appliance.core.errors import ApplianceError, AuditNoteInvalidError, InputMissingError
from appliance.core.progress import NoProgress, Progress


@dataclass
class Report:
    """The answer of a verification."""

    size: int = 0
    root: str = ""
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)
    checked: dict[str, int | float] = field(default_factory=dict)
    shards: list[dict[str, Any]] = field(default_factory=list)
    index: dict[str, Any] = field(default_factory=dict)

    @property
    def entries(self) -> int:
        """Entries of all shards together (``size`` and ``root`` are those of the newest)."""
        return sum(shard["size"] for shard in self.shards)

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "entries": self.entries,
            "size": self.size,
            "root": self.root,
            "checked": self.checked,
            "problems": [p.to_dict() for p in self.problems],
            "notes": [p.to_dict() for p in self.notes],
            "shards": self.shards,
            "index": self.index,
        }

    def add(self, number: int, check: LogCheck) -> None:
        """Take in what one shard came to."""
        self.size, self.root = check.size, check.root.hex()
        label = check.folder.name
        self.problems += [Problem(p.name, f"{label}: {p.place}", p.what) for p in check.problems]
        self.notes += [Problem(p.name, f"{label}: {p.place}", p.what) for p in check.notes]
        for name, value in check.checked.items():
            self.checked[name] = self.checked.get(name, 0) + value
        self.shards.append(
            {"log": number, "size": check.size, "root": self.root, "ok": not check.problems}
        )


@dataclass(frozen=True)
class Options:
    """How to verify: kept checkpoints to compare with, how many processes, from where to read."""

    kept: Sequence[bytes] = ()
    processes: int = 0
    newer_only: bool = False


def verify_home(audit: Path, options: Options, progress: Progress | None = None) -> Report:
    """Verify the whole audit folder of a home. Raises only when there is no log at all."""
    started = time.monotonic()
    report = Report()
    try:
        chain = shards(audit)
    except ApplianceError as error:
        report.problems.append(Problem("delete", str(audit), error.found))
        return report
    if not chain:
        raise InputMissingError(expected=f"an audit log in {audit}", found="none")
    checks: list[LogCheck] = []
    kept, strangers = _sort_kept(options.kept, chain)
    report.problems += strangers
    for shard in chain:
        last = shard is chain[-1]
        check = _check_shard(shard, kept.get(shard.number, []), options, progress, last=last)
        report.add(shard.number, check)
        checks.append(check)
    report.problems += _check_chain(checks, chain)
    _check_keys(audit, chain, report)
    _check_reserve(audit / RESERVE, report)
    check_rest(audit, checks, report.problems, report.notes)
    report.index = check_index(audit) if report.ok else {"state": "unchecked", "rebuildable": True}
    if report.index["state"] == "damaged":
        what = f"{report.index['what']}; the log is not touched, `audit search --rebuild` mends it"
        report.problems.append(Problem("index", INDEX, what))
    report.checked["seconds"] = round(time.monotonic() - started, 3)
    report.checked["shards"] = len(chain)
    return report


def verify_folder(
    folder: Path, vkey: str, options: Options, progress: Progress | None = None
) -> Report:
    """Verify any tlog-tiles folder under a verifier key."""
    started = time.monotonic()
    verifier = Verifier.parse(vkey)
    report = Report()
    heads = []
    for data in options.kept:
        try:
            heads.append(open_checkpoint(data, verifier)[0])
        except AuditNoteInvalidError as error:
            report.problems.append(Problem("fork", "kept checkpoint", error.found))
    check = check_log(
        folder,
        verifier,
        kept=heads,
        processes=options.processes or os.cpu_count() or 1,
        newer_only=options.newer_only,
        progress=progress or NoProgress(),
    )
    report.add(0, check)
    report.checked["seconds"] = round(time.monotonic() - started, 3)
    return report


def _check_shard(
    shard: Shard,
    kept: list[Checkpoint],
    options: Options,
    progress: Progress | None,
    *,
    last: bool,
) -> LogCheck:
    try:
        verifier = shard.verifier
    except ApplianceError as error:
        check = LogCheck(shard.folder)
        check.problems.append(Problem("edit", "log.vkey", error.found))
        return check
    return check_log(
        shard.folder,
        verifier,
        number=shard.number,
        closed=not last,
        kept=kept,
        processes=options.processes or os.cpu_count() or 1,
        newer_only=options.newer_only,
        progress=progress or NoProgress(),
    )


def _sort_kept(
    kept: Sequence[bytes], chain: Sequence[Shard]
) -> tuple[dict[int, list[Checkpoint]], list[Problem]]:
    """Give each kept checkpoint to the shard it names, once its signature is believed."""
    sorted_: dict[int, list[Checkpoint]] = {}
    problems: list[Problem] = []
    for data in kept:
        try:
            origin = Checkpoint.parse(Note.parse(data).text).origin
        except AuditNoteInvalidError as error:
            problems.append(Problem("edit", "kept checkpoint", error.found))
            continue
        for shard in chain:
            try:
                verifier = shard.verifier
                if verifier.name == origin:
                    head, _, _ = open_checkpoint(data, verifier)
                    sorted_.setdefault(shard.number, []).append(head)
                    break
            except ApplianceError as error:
                what = f"the kept checkpoint is not signed by this log's key ({error.found})"
                problems.append(Problem("fork", shard.folder.name, what))
                break
        else:
            what = f"no log here is called {origin}"
            problems.append(Problem("older-copy", "kept checkpoint", what))
    return sorted_, problems


def _check_chain(checks: Sequence[LogCheck], chain: Sequence[Shard]) -> list[Problem]:
    """Every shard begins with the final checkpoint of the one before, which named its key."""
    problems: list[Problem] = []
    for (before, after), shard in zip(itertools.pairwise(checks), chain[1:], strict=True):
        place = f"{after.folder.name}: entry 0"
        said = _member(after.first_entry, "audit.shard_opened")
        wanted = {"previous": before.origin, "size": before.size, "root": before.root.hex()}
        if after.first_entry is not None and said != wanted:
            problems.append(Problem("fork", place, "does not begin with the log before it"))
        if before.last_entry is not None:
            place = f"{before.folder.name}: entry {before.size - 1}"
            problems += _check_closed(
                _member(before.last_entry, "audit.shard_closed"), shard, place
            )
    last = checks[-1]
    if last.last_entry is not None and _member(last.last_entry, "audit.shard_closed"):
        what = "the log was closed and the one that follows is not here"
        problems.append(Problem("delete", last.folder.name, what))
    return problems


def _check_closed(said: dict[str, Any], following: Shard, place: str) -> list[Problem]:
    """The last entry of a closed shard names the next one and its key."""
    if not said:
        return [Problem("fork", place, "the log goes on after its last entry")]
    try:
        verifier = following.verifier
    except ApplianceError:
        return []  # told with that shard
    if said != {"next": verifier.name, "key": verifier.vkey}:
        return [Problem("fork", place, "names another log or key than the one that follows")]
    return []


def _member(entry: bytes | None, action: str) -> dict[str, Any]:
    """Return the detail of ``entry`` when the writer itself wrote ``action``."""
    try:
        value = json.loads(entry or b"{}")
    except ValueError:
        return {}
    if value.get("action") != action or value.get("component") != "audit":
        return {}
    detail: dict[str, Any] = value.get("detail", {})
    return detail


def _check_keys(audit: Path, chain: Sequence[Shard], report: Report) -> None:
    """A private key file belongs to the newest shard, and is the key of its checkpoints."""
    folder = audit / KEYS
    newest = chain[-1]
    begun = {f"{newest.number + 1:04d}.key", f"{newest.number + 1:04d}.tpm2"}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not os.access(path, os.R_OK):
            report.notes.append(Problem("unread", f"{KEYS}/{path.name}", "not readable here"))
            continue
        if path.name in begun:
            what = "of a key rotation that was not finished; the next one replaces it"
            report.notes.append(Problem("unfinished", f"{KEYS}/{path.name}", what))
            continue
        try:
            verifier = newest.verifier
            if path.suffix == ".tpm2":
                public = read_sealed(path)[0].public_key
            else:
                public = FileKeys(audit).load(verifier.name).public_key
            named = path.name in {f"{newest.number:04d}.key", f"{newest.number:04d}.tpm2"}
            if not named or public != verifier.public_key:
                what = "is not the key of the newest log"
                report.problems.append(Problem("key", f"{KEYS}/{path.name}", what))
        except ApplianceError as error:
            report.problems.append(Problem("key", f"{KEYS}/{path.name}", error.found))


def _check_reserve(path: Path, report: Report) -> None:
    """The reserve holds nothing but zeroes; without it a stop on a full disk is not logged."""
    try:
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                if block.count(0) != len(block):
                    report.problems.append(Problem("edit", RESERVE, "holds something"))
                    return
    except FileNotFoundError:
        report.notes.append(Problem("spent", RESERVE, "spent on the last words of a full disk"))
    except OSError:
        report.notes.append(Problem("unread", RESERVE, "not readable here"))


def read_kept(path: Path) -> bytes:
    """Read a kept checkpoint file."""
    with os_errors(path):
        return path.read_bytes()
