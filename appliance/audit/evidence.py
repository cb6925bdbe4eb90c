"""Evidence: entries, proofs and a verifier in one zip that needs nobody's trust.

For "all accesses to patient X from A to B" the zip carries *every* entry of the range, the entry
before it and the entry after it, in full. Whoever holds them recomputes every leaf, so nothing
was left out of the range; filters again, so nothing was left out of the list; and reads the times
of the border entries, so the range was not narrowed. Entries hold neither clinical text nor
identifiers, which is what makes shipping the whole range possible (docs/adr/0016).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from appliance.audit.layout import Shard
from appliance.audit.note import Note, Verifier, b64encode, open_checkpoint
from appliance.audit.proof import make_proof, range_proof
from appliance.audit.retention import pruned_before
from appliance.audit.tiles import TILE_WIDTH, TileHashes, folder_tiles, pack_bundle, read_bundle
from appliance.audit.tree import root_hash
from appliance.audit.witness import WitnessBook, best_cosigned
from appliance.core.canonical import canonical_json
from appliance.core.durable import os_errors
from appliance.core.errors.audit import AuditEntryUnavailableError, AuditEvidenceError
from appliance.core.progress import NoProgress, Progress

FORMAT: Final = "hospital-ai-evidence/1"
Kind = Literal["complete", "inclusion"]
Member = tuple[str, bytes]

# The writer's member comes last in an entry, so its time is found without parsing the rest.
_AT: Final = re.compile(rb'"written":\{"at":"([0-9T:.-]+Z)"')
_AT_TAIL: Final = 240
PROGRESS_STEP: Final = 4096  # entries between two words about progress
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@dataclass(frozen=True)
class Question:
    """What is asked of the log: a period by the writer's clock, and fields that must be equal."""

    since: str | None = None
    until: str | None = None
    where: Mapping[str, Sequence[str | bool]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse another spelling of a time: they are compared as text."""
        for moment in (self.since, self.until):
            if moment is not None and not _TIME.fullmatch(moment):
                raise ValueError("a time is RFC 3339 in UTC with six digits of a second")

    def to_dict(self) -> dict[str, Any]:
        """Return the form the verifier reads."""
        return {
            "from": self.since,
            "to": self.until,
            "where": {name: list(values) for name, values in self.where.items()},
        }

    def covers(self, at: str) -> bool:
        """Say whether a time lies in the period (both ends belong to it)."""
        return not ((self.since and at < self.since) or (self.until and at > self.until))

    def asks_for(self, entry: bytes) -> bool:
        """Say whether an entry has the fields that are asked for, whatever its time."""
        value = json.loads(entry)
        return all(value.get(name) in values for name, values in self.where.items())


@dataclass(frozen=True)
class Limits:
    """Bounds of one evidence file (settings ``evidence_entries`` and ``evidence_proofs``)."""

    entries: int
    proofs: int


def entry_time(entry: bytes) -> str:
    """Return when the writer received an entry; raise ``ValueError`` when it does not say."""
    found = _AT.search(entry, max(0, len(entry) - _AT_TAIL)) or _AT.search(entry)
    if found is None:
        raise ValueError("an entry without the writer's time")
    return found[1].decode()


class Part:
    """One shard of the log as evidence shows it: its entries under one signed checkpoint."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.key = shard.verifier
        with os_errors(shard.checkpoint):
            data = shard.checkpoint.read_bytes()
        head, note, _ = open_checkpoint(data, self.key)
        self.note: Note = note
        self.size = head.size
        self.read = TileHashes(head.size, folder_tiles(shard.folder))
        self.witnesses: tuple[Verifier, ...] = ()
        self.first = min(pruned_before(shard.folder), head.size)
        self.lo = self.hi = 0  # what the evidence shows
        self.inner = (0, 0)  # what lies in the period, by the order of the log

    def witnessed(self, book: WitnessBook, at_least: int) -> None:
        """Stand under a witnessed checkpoint of ``at_least`` leaves, where there is one.

        A witness may have seen less than the newest state: what it signed is worth more than a
        few later entries that the evidence does not show.
        """
        found = best_cosigned(book, self.key, at_least)
        if found is None:
            return
        head, note, signed = open_checkpoint(found.encode(), self.key, book.policy().witnesses)
        if head.size <= self.size and root_hash(head.size, self.read) == head.root:
            self.note, self.size = note, head.size
            self.witnesses = tuple(witness for witness, _ in signed)
            self.read = TileHashes(head.size, folder_tiles(self.shard.folder))

    @property
    def folder(self) -> str:
        """The folder of this part in the zip."""
        return f"part-{self.shard.number:04d}"

    def entries(self, lo: int, hi: int) -> Iterator[tuple[int, bytes]]:
        """Yield the entries ``lo`` to ``hi`` with their indices."""
        for n in range(lo // TILE_WIDTH, (hi + TILE_WIDTH - 1) // TILE_WIDTH):
            start = n * TILE_WIDTH
            width = min(TILE_WIDTH, self.size - start)
            try:
                bundle = read_bundle(self.shard.folder, n, width)
            except (LookupError, ValueError) as error:
                raise AuditEntryUnavailableError(
                    expected=f"the entries {start} to {start + width - 1} of {self.key.name}",
                    found=str(error),
                ) from error
            for index, entry in enumerate(bundle, start):
                if lo <= index < hi:
                    yield index, entry


def find_range(
    parts: Sequence[Part],
    question: Question,
    limits: Limits,
    progress: Progress | None = None,
) -> list[Part]:
    """Set the range of every part that evidence for ``question`` needs; return those parts.

    The range reaches one entry past the period on both sides. Raises
    :class:`AuditEvidenceError` when an end cannot be shown.
    """
    shown = progress or NoProgress()
    inside: list[tuple[int, int]] = []
    available = [(p, i) for p, part in enumerate(parts) for i in (part.first, part.size - 1)]
    for place, part in enumerate(parts):
        for index, entry in part.entries(part.first, part.size):
            if question.covers(entry_time(entry)):
                inside.append((place, index))
            if index % PROGRESS_STEP == 0:
                shown.update(index, part.size, f"reading {part.key.name}")
        shown.update(part.size, part.size or 1, f"read {part.key.name}")
    first, last = (inside[0], inside[-1]) if inside else ((0, 0), (-1, 0))
    if not inside:
        inside = [_gap(parts, question)]
    start = _step(parts, inside[0], -1) if question.since else _begin(parts)
    end = _step(parts, inside[-1], +1) if question.until else available[-1]
    if start is None or end is None:
        side = "before" if start is None else "after"
        raise AuditEvidenceError(
            expected=f"an entry {side} the period, which shows that nothing was cut off there",
            found="none in the signed log",
            remedy="Ask for a shorter period; for one that reaches into this second, ask again.",
        )
    chosen = list(parts[start[0] : end[0] + 1])
    for place, part in enumerate(chosen, start[0]):
        part.lo = start[1] if place == start[0] else 0
        part.hi = end[1] + 1 if place == end[0] else part.size
        if first[0] <= place <= last[0]:
            inner_end = last[1] + 1 if place == last[0] else part.size
            part.inner = (first[1] if place == first[0] else 0, inner_end)
    total = sum(part.hi - part.lo for part in chosen)
    if total > limits.entries:
        raise AuditEvidenceError(
            expected=f"a period of at most {limits.entries} entries", found=f"{total} entries"
        )
    return chosen


def _begin(parts: Sequence[Part]) -> tuple[int, int] | None:
    return (0, 0) if parts[0].first == 0 and parts[0].shard.number == 1 else None


def _step(parts: Sequence[Part], here: tuple[int, int], step: int) -> tuple[int, int] | None:
    """Return the place of the entry beside ``here``; the log's own beginning stands for itself."""
    place, index = here
    if step < 0:
        if index > parts[place].first:
            return place, index - 1
        if index > 0:
            return None
        if place > 0:
            return place - 1, parts[place - 1].size - 1
        return _begin(parts)
    if index + 1 < parts[place].size:
        return place, index + 1
    return (place + 1, 0) if place + 1 < len(parts) else None


def _gap(parts: Sequence[Part], question: Question) -> tuple[int, int]:
    """Return the place of the last entry before a period in which nothing was written."""
    found = (0, parts[0].first)
    for place, part in enumerate(parts):
        for index, entry in part.entries(part.first, part.size):
            if question.since and entry_time(entry) < question.since:
                found = (place, index)
    return found


@dataclass(frozen=True)
class Evidence:
    """What goes into the zip, and what the log says about it."""

    members: list[Member]
    summary: dict[str, Any]


def build(  # noqa: PLR0913 - what is asked, of what, within which bounds, told to whom
    parts: Sequence[Part],
    question: Question,
    limits: Limits,
    book: WitnessBook,
    *,
    kind: Kind = "complete",
    progress: Progress | None = None,
) -> Evidence:
    """Put evidence together; the verifier and the guides are added by ``evidence_zip``."""
    _check_question(parts, question)
    chosen = list(parts)
    if kind == "complete":
        chosen = find_range(parts, question, limits, progress)
    members: list[Member] = []
    answers: list[bytes] = []
    described: list[dict[str, Any]] = []
    for part in chosen:
        if kind == "inclusion":
            part.lo, part.hi = part.first, part.size
        found = _answers(part, question, kind)
        if kind == "inclusion":
            part.hi = found[-1][0] + 1 if found else part.lo
        part.witnessed(book, part.hi if part is chosen[-1] else part.size)
        answers += [entry for _, entry in found]
        if len(answers) > limits.entries:
            raise AuditEvidenceError(
                expected=f"at most {limits.entries} entries", found="more of them"
            )
        single = found if kind == "inclusion" else found[: limits.proofs]
        members += _part_members(part, kind, single)
        described.append(
            {"folder": part.folder, "lo": part.lo, "hi": part.hi, "proofs": [i for i, _ in single]}
        )
    witnesses = min(len(part.witnesses) for part in chosen)
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "question": question.to_dict(),
        "parts": described,
        "matches": len(answers),
    }
    members += [
        ("manifest.json", _json(manifest)),
        ("policy.json", _json(_policy(chosen, witnesses))),
        ("accesses.ndjson", b"".join(entry + b"\n" for entry in answers)),
    ]
    shown = sum(part.hi - part.lo for part in chosen) if kind == "complete" else len(answers)
    summary = {"matches": len(answers), "entries": shown, "witnesses": witnesses}
    return Evidence(members, {**summary, "kind": kind, "parts": len(chosen)})


def _answers(part: Part, question: Question, kind: Kind) -> list[tuple[int, bytes]]:
    """Return the entries of a part that answer the question.

    In complete evidence the order of the log decides what lies in the period: an entry between two
    of the period belongs to it, whatever a clock that was set back wrote on it.
    """
    if kind == "complete":
        within = part.entries(*part.inner)
        return [(index, entry) for index, entry in within if question.asks_for(entry)]
    return [
        (index, entry)
        for index, entry in part.entries(part.lo, part.hi)
        if question.covers(entry_time(entry)) and question.asks_for(entry)
    ]


def _check_question(parts: Sequence[Part], question: Question) -> None:
    if question.since and question.until and question.since > question.until:
        raise AuditEvidenceError(
            expected="a period that starts before its end and has begun",
            found=f"{question.since} to {question.until}",
        )
    if not parts or not any(part.size for part in parts):
        raise AuditEvidenceError(expected="a signed log with entries", found="an empty one")


def _part_members(part: Part, kind: Kind, single: Sequence[tuple[int, bytes]]) -> list[Member]:
    checkpoint = part.note.encode()
    members: list[Member] = [(f"{part.folder}/checkpoint", checkpoint)]
    if kind == "complete":
        entries = [entry for _, entry in part.entries(part.lo, part.hi)]
        hashes = range_proof(part.lo, part.hi, part.size, part.read)
        proof = {"size": part.size, "hashes": [b64encode(h) for h in hashes]}
        members += [
            (f"{part.folder}/entries.bin", pack_bundle(entries)),
            (f"{part.folder}/proof.json", _json(proof)),
        ]
    else:
        members += [(f"{part.folder}/entries/{index}.json", entry) for index, entry in single]
    for index, _ in single:
        proof_file = make_proof(index, part.size, part.read, checkpoint).encode()
        members.append((f"{part.folder}/proofs/{index}.tlog-proof", proof_file))
    return members


def _policy(parts: Sequence[Part], needed: int) -> dict[str, Any]:
    """Name the keys the zip is to be checked with; an officer compares them with her own."""
    witnesses: dict[str, Verifier] = {}
    for part in parts:
        for key in part.witnesses:
            witnesses[key.vkey] = key
    return {
        "logs": [{"origin": part.key.name, "vkey": part.key.vkey} for part in parts],
        "witnesses": sorted(witnesses),
        "needed": needed,
    }


def _json(value: Any) -> bytes:
    return canonical_json(value) + b"\n"
