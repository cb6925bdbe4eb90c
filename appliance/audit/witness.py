"""Witnesses: what is asked of them, what they answer, how old their word is.

A witness is an officer's offline device. It keeps the largest state of the log it saw and signs
"this is the largest consistent tree at time T" (c2sp.org/tlog-witness, tlog-cosignature). So it is
a clock and a memory that the administrator of this machine cannot reach.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from appliance.audit.note import (
    COSIGNATURE,
    Checkpoint,
    Note,
    Signature,
    Verifier,
    b64encode,
    open_checkpoint,
    verified,
)
from appliance.audit.tiles import TileHashes, folder_tiles
from appliance.audit.tree import HashReader, consistency_proof, root_hash
from appliance.core.durable import os_errors, read_json, write_bytes, write_json
from appliance.core.errors import ApplianceError
from appliance.core.errors.audit import AuditNoteInvalidError, AuditWitnessRefusedError

MAX_QR_BYTES: Final = 2953  # QR version 40, byte mode, error correction level L (ISO/IEC 18004)
PENDING_KEPT: Final = 16  # requests an officer may have open at once, before the oldest is dropped


@dataclass(frozen=True)
class WitnessPolicy:
    """Which witnesses the hospital accepts, and how many of them a checkpoint needs."""

    witnesses: tuple[Verifier, ...] = ()
    needed: int = 1


@dataclass(frozen=True)
class Witnessed:
    """The newest state of a log that one witness signed; None for one that never did."""

    witness: Verifier
    checkpoint: Checkpoint | None = None
    time: int = 0
    note: Note | None = None


def request_body(old: int, size: int, read: HashReader, checkpoint: bytes) -> bytes:
    """Return the add-checkpoint body that takes a witness from ``old`` to ``size`` leaves."""
    proof = consistency_proof(old, size, read)
    lines = [f"old {old}", *(b64encode(value) for value in proof)]
    return ("\n".join(lines) + "\n\n").encode() + checkpoint


class WitnessBook:
    """What this machine keeps of its witnesses: their keys, open requests, their last word."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def policy(self) -> WitnessPolicy:
        """Return the witnesses accepted here."""
        path = self.folder / "witnesses.json"
        if not path.exists():
            return WitnessPolicy()
        kept = read_json(path)
        return WitnessPolicy(tuple(Verifier.parse(v) for v in kept["witnesses"]), kept["needed"])

    def trust(self, vkey: str) -> Verifier:
        """Accept a witness; raises :class:`AuditNoteInvalidError` for a key of another kind."""
        verifier = Verifier.parse(vkey)
        if verifier.algorithm != COSIGNATURE:
            raise AuditNoteInvalidError(expected="a witness key (type 4)", found="a log key")
        policy = self.policy()
        keys = sorted({*(w.vkey for w in policy.witnesses), verifier.vkey})
        write_json(self.folder / "witnesses.json", {"witnesses": keys, "needed": policy.needed})
        return verifier

    def last(self, log: Verifier, witness: Verifier) -> Witnessed:
        """Return the newest state of ``log`` that ``witness`` signed."""
        path = self._path(log, witness)
        if not path.exists():
            return Witnessed(witness)
        with os_errors(path):
            data = path.read_bytes()
        checkpoint, note, found = open_checkpoint(data, log, [witness])
        times = [s.time or 0 for _, s in found]
        if not times:
            raise AuditNoteInvalidError(expected=f"a cosignature of {witness.name}", found="none")
        return Witnessed(witness, checkpoint, max(times), note)

    def request(
        self, log: Verifier, checkpoint: bytes, read: HashReader, old: int | None = None
    ) -> bytes:
        """Return the request for ``checkpoint`` and remember what was asked.

        ``old`` is the size the witness saw last; by default the smallest that the accepted
        witnesses signed here (0 when one of them never did).
        """
        head, note, _ = open_checkpoint(checkpoint, log)
        if old is None:
            seen = [self.last(log, w).checkpoint for w in self.policy().witnesses]
            old = min((c.size if c else 0 for c in seen), default=0)
        if old > head.size:
            raise AuditWitnessRefusedError(
                expected=f"a log of at least the {old} entries that the witness saw",
                found=f"{head.size} entries: an older copy may have been put back",
            )
        own = Note(note.text, tuple(s for s in note.signatures if s.name == log.name))
        self._remember(log, head, own)
        return request_body(old, head.size, read, own.encode())

    def accept(self, log: Verifier, answer: bytes) -> list[Witnessed]:
        """Take a witness's answer: signature lines, or a whole cosigned checkpoint.

        Returns what each witness in it now says; raises :class:`AuditWitnessRefusedError` when no
        accepted witness signed a checkpoint that was asked for.
        """
        witnesses = self.policy().witnesses
        lines = _signature_lines(answer)
        taken: list[Witnessed] = []
        for path in sorted((self.folder / "pending").glob(f"{_short(log)}-*.checkpoint")):
            asked = Note.parse(path.read_bytes())
            for line in lines:
                try:
                    found = verified(Note(asked.text, (line,)), witnesses)
                except AuditNoteInvalidError:
                    continue
                head = Checkpoint.parse(asked.text)
                signed = asked.with_signatures([line])
                taken.append(Witnessed(found[0][0], head, line.time or 0, signed))
        if not taken:
            raise AuditWitnessRefusedError(
                expected="an accepted witness's signature of a checkpoint that was asked for",
                found=f"{len(lines)} signature lines, none of them such",
                remedy="Accept its key with `appliance audit witness trust`, or ask again.",
            )
        for item in taken:
            self._keep(log, item)
        return taken

    def _keep(self, log: Verifier, item: Witnessed) -> None:
        kept = self.last(log, item.witness)
        if kept.checkpoint and item.checkpoint and item.checkpoint.size < kept.checkpoint.size:
            return
        assert item.note is not None
        write_bytes(self._path(log, item.witness), item.note.encode())

    def _remember(self, log: Verifier, head: Checkpoint, note: Note) -> None:
        folder = self.folder / "pending"
        write_bytes(folder / f"{_short(log)}-{head.size:020d}.checkpoint", note.encode())
        for path in sorted(folder.glob(f"{_short(log)}-*.checkpoint"))[:-PENDING_KEPT]:
            path.unlink(missing_ok=True)

    def _path(self, log: Verifier, witness: Verifier) -> Path:
        return self.folder / "seen" / f"{_short(log)}-{_short(witness)}.checkpoint"


def _short(key: Verifier) -> str:
    return hashlib.sha256(key.vkey.encode()).hexdigest()[:16]


def _signature_lines(answer: bytes) -> list[Signature]:
    text = answer.decode("utf-8", "replace").replace("\r\n", "\n")
    lines = []
    for line in text.split("\n"):
        if line.startswith("\u2014 "):
            try:
                lines.append(Signature.parse(line))
            except ValueError:
                continue
    return lines


def consistent_with(folder: Path, size: int, seen: Checkpoint) -> str | None:
    """Return why the log in ``folder`` (``size`` leaves) does not extend ``seen``; None if it does.

    The root at the witnessed size is computed again from the tiles.
    """
    if size < seen.size:
        return f"rollback: {seen.size} entries were witnessed, {size} are here"
    try:
        root = root_hash(seen.size, TileHashes(size, folder_tiles(folder)))
    except (LookupError, ValueError) as error:
        return f"damaged: {error}"
    return None if root == seen.root else f"fork: another history of the first {seen.size} entries"


@dataclass(frozen=True)
class Status:
    """One witness's line in ``audit witness status``, over all shards of the log.

    ``log`` and ``size`` name the newest state it signed, ``behind`` counts what was written since,
    in that shard and in those after it. ``newest_signed`` is False while the newest shard has no
    signature of this witness yet: what an earlier shard has still counts, and says so.
    """

    witness: str
    size: int
    behind: int
    age_s: float | None
    stale: bool
    problem: str | None
    log: str | None = None
    newest: str = ""
    newest_signed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return dict(self.__dict__)


@dataclass(frozen=True)
class LogState:
    """A shard as it stands here: its key, its folder, the leaves of its checkpoint."""

    log: Verifier
    folder: Path
    size: int


def status(
    book: WitnessBook, chain: Sequence[LogState], now: float, stale_after_s: float
) -> list[Status]:
    """Say of every accepted witness how old its word is and whether the log still extends it.

    ``chain`` are the shards, oldest first. Every signature kept is compared with its shard, so a
    contradiction in an old one is told as well.
    """
    return [_status(book, w, chain, now, stale_after_s) for w in book.policy().witnesses]


def _status(
    book: WitnessBook,
    witness: Verifier,
    chain: Sequence[LogState],
    now: float,
    stale_after_s: float,
) -> Status:
    age = problem = log = behind = None
    size, since, newest_signed = 0, 0, False
    for number, here in enumerate(reversed(chain)):
        since += here.size
        try:
            seen = book.last(here.log, witness)
        except ApplianceError as error:
            problem = problem or f"damaged: {error.found}"
            continue
        if seen.checkpoint is None:
            continue
        problem = problem or consistent_with(here.folder, here.size, seen.checkpoint)
        if log is None:
            age, log, size = now - seen.time, here.log.name, seen.checkpoint.size
            behind, newest_signed = since - size, number == 0
    stale = age is None or age > stale_after_s
    return Status(
        witness.name,
        size,
        since if behind is None else behind,
        age,
        stale,
        problem,
        log,
        chain[-1].log.name,
        newest_signed,
    )


_METRICS: Final[list[tuple[str, str, Callable[[Status], float]]]] = [
    (
        "appliance_audit_witness_age_seconds",
        "Seconds since the witness signed the log (infinite when it never did)",
        lambda line: math.inf if line.age_s is None else line.age_s,
    ),
    (
        "appliance_audit_witness_behind_entries",
        "Entries written since the witness signed the log",
        lambda line: line.behind,
    ),
    (
        "appliance_audit_witness_conflict",
        "1 when the log does not extend what the witness signed",
        lambda line: float(line.problem is not None),
    ),
    (
        "appliance_audit_witness_newest_log_signed",
        "1 when the witness has signed the newest shard (0 after a key rotation, until it does)",
        lambda line: float(line.newest_signed),
    ),
]


def metric_families(lines: Sequence[Status]) -> list[Any]:
    """Return the witnesses' state as Prometheus metric families (for a custom collector)."""
    from prometheus_client.core import GaugeMetricFamily

    families = []
    for name, text, value in _METRICS:
        family = GaugeMetricFamily(name, text, labels=["witness"])
        for line in lines:
            family.add_metric([line.witness], value(line))
        families.append(family)
    return families


def best_cosigned(book: WitnessBook, log: Verifier, at_least: int) -> Note | None:
    """Return the newest witnessed checkpoint of at least ``at_least`` leaves, all cosignatures on.

    None when no accepted witness signed a tree that large.
    """
    seen = [book.last(log, w) for w in book.policy().witnesses]
    notes = [(s.checkpoint.size, s.note) for s in seen if s.checkpoint and s.note]
    fitting = [(size, note) for size, note in notes if size >= at_least]
    if not fitting:
        return None
    size, best = max(fitting, key=lambda item: item[0])
    for other_size, note in fitting:
        if other_size == size and note.text == best.text:
            best = best.with_signatures(note.signatures)
    return best
