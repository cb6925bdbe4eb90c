"""What an officer does with the log, each act recorded in it: prove, give evidence, export.

Reading the log for others is itself an event (HIPAA 164.312(b), SBIS NGS1.07.02): the intent is
durable before anything is written, and the outcome names the hash of what left the house.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from appliance.audit.evidence import Kind, Limits, Part, Question, build, entry_time
from appliance.audit.evidence_zip import members_of, write_zip
from appliance.audit.export import Record, Source, lines
from appliance.audit.export.atna import syslog_message
from appliance.audit.export.syslog_tls import Receiver, send
from appliance.audit.layout import Shard, shards
from appliance.audit.proof import TlogProof, make_proof
from appliance.audit.recorder import Recorder
from appliance.audit.witness import LogState, Status, WitnessBook, metric_families, status
from appliance.core.canonical import file_hash
from appliance.core.clock import Clock, rfc3339
from appliance.core.durable import TEMP_PREFIX, fsync_dir, os_errors
from appliance.core.errors import ApplianceError, InputMissingError
from appliance.core.errors.audit import AuditEntryUnavailableError
from appliance.core.home import Home
from appliance.core.progress import Progress
from appliance.core.settings.audit import AuditSettings

WITNESS_FOLDER: Final = "witness"


def let_sign(home: Home) -> None:
    """Ask a running writer to sign what it has; a log can be read without its writer too."""
    from appliance.audit import wire
    from appliance.audit.client import connect

    with contextlib.suppress(ApplianceError):
        sink = connect(home, start=False)
        try:
            sink.ask(wire.SYNC)
        finally:
            sink.close()


def book_of(home: Home) -> WitnessBook:
    """Return the witnesses of a home."""
    return WitnessBook(home.audit / WITNESS_FOLDER)


def logs_of(home: Home) -> list[Shard]:
    """Return the shards of a home, oldest first; raises ``InputMissingError`` without a log."""
    found = shards(home.audit)
    if not found:
        raise InputMissingError(expected=f"an audit log in {home.audit}", found="none yet")
    return found


def witness_status(home: Home, settings: AuditSettings, clock: Clock) -> list[Status]:
    """Say of every witness how old its word is, over all shards, and whether it still holds."""
    parts = [Part(shard) for shard in logs_of(home)]
    chain = [LogState(part.key, part.shard.folder, part.size) for part in parts]
    now = clock.now().timestamp()
    return status(book_of(home), chain, now, settings.witness_stale_hours * 3600)


class WitnessCollector:
    """For a Prometheus registry: how old the witnesses' word is, read at every scrape."""

    def __init__(self, home: Home, settings: AuditSettings, clock: Clock) -> None:
        self.home = home
        self.settings = settings
        self.clock = clock

    def collect(self) -> list[Any]:
        """Return the metric families; none when there is no log yet."""
        with contextlib.suppress(ApplianceError):
            return metric_families(witness_status(self.home, self.settings, self.clock))
        return []


@dataclass(frozen=True)
class Period:
    """Which entries an export takes: from an index of the newest shard on, or by time."""

    since: str | None = None
    until: str | None = None
    first: int = 0
    log: int | None = None


class Officer:
    """The acts of one person on the log of one home."""

    def __init__(
        self, home: Home, settings: AuditSettings, recorder: Recorder, clock: Clock
    ) -> None:
        self.home = home
        self.settings = settings
        self.recorder = recorder
        self.clock = clock

    def parts(self) -> list[Part]:
        """Return the shards under checkpoints that cover what is durable now."""
        let_sign(self.home)
        return [Part(shard) for shard in logs_of(self.home)]

    def prove(self, log: int | None, index: int, target: Path) -> dict[str, Any]:
        """Write the tlog-proof of an entry, and the entry itself beside it as ``.json``."""
        detail = {"log": log or 0, "n": index}
        with self.recorder.action("audit.prove", detail=detail):
            part = self._part(log)
            if not part.first <= index < part.size:
                raise AuditEntryUnavailableError(
                    expected=f"an index from {part.first} to {part.size - 1}", found=str(index)
                )
            part.witnessed(book_of(self.home), index + 1)
            proof = make_proof(index, part.size, part.read, part.note.encode())
            entry = next(part.entries(index, index + 1))[1]
            write(target, [proof.encode()])
            write(target.with_suffix(".json"), [entry])
        return {
            "index": index,
            "log": part.key.name,
            "size": part.size,
            "witnesses": [w.name for w in part.witnesses],
            "proof": str(target),
            "entry": str(target.with_suffix(".json")),
        }

    def evidence(
        self, question: Question, kind: Kind, target: Path, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Write an evidence zip; the question's end is never later than this moment.

        The intent is recorded after that end, so it is the entry that closes the period.
        """
        now = rfc3339(self.clock.now())
        until = min(question.until or now, now)
        asked = Question(question.since, until, question.where)
        detail: dict[str, Any] = {"kind": kind, "from": asked.since or "", "to": until}
        detail["fields"] = ",".join(sorted(asked.where))
        patients = asked.where.get("patient", ())
        patient = str(patients[0]) if len(patients) == 1 else None
        with self.recorder.action("audit.export", patient=patient, detail=detail) as act:
            limits = Limits(self.settings.evidence_entries, self.settings.evidence_proofs)
            book = book_of(self.home)
            made = build(self.parts(), asked, limits, book, kind=kind, progress=progress)
            digest = write_zip(target, members_of(made))
            act.detail.update(sha256=digest, matches=made.summary["matches"])
        keys = [Part(shard).key.vkey for shard in logs_of(self.home)]
        return {**made.summary, "path": str(target), "sha256": digest, "log_keys": keys}

    def export(self, form: str, period: Period, source: Source, target: Path) -> dict[str, Any]:
        """Write entries in another system's format."""
        with self.recorder.action("audit.export", detail=_export_detail(form, period)) as act:
            counted = _Counter()
            pieces = lines(form, counted.pass_on(self.records(period)), source)
            write(target, pieces)
            digest = file_hash(target)
            act.detail.update(sha256=digest, entries=counted.count)
        return {"path": str(target), "entries": counted.count, "sha256": digest}

    def send(self, period: Period, source: Source, receiver: Receiver) -> dict[str, Any]:
        """Send entries as ATNA messages to a syslog receiver over TLS."""
        detail = {**_export_detail("atna", period), "receiver": receiver.host}
        with self.recorder.action("audit.export", detail=detail) as act:
            found = self.records(period)
            process = os.getpid()
            messages = (syslog_message(r, source, process=process) for r in found)
            act.detail["entries"] = sent = send(receiver, messages)
        return {"entries": sent, "receiver": f"{receiver.host}:{receiver.port}"}

    def records(self, period: Period) -> Iterator[Record]:
        """Yield the entries of a period, oldest first."""
        chosen = [p for p in self.parts() if period.log in {None, p.shard.number}]
        for part in chosen:
            newest = part is chosen[-1]
            for _, entry in part.entries(max(part.first, period.first if newest else 0), part.size):
                at = entry_time(entry)
                if (period.since is None or at >= period.since) and (
                    period.until is None or at <= period.until
                ):
                    yield Record.parse(entry)

    def _part(self, log: int | None) -> Part:
        parts = self.parts()
        for part in parts:
            if part.shard.number == (log or parts[-1].shard.number):
                return part
        raise AuditEntryUnavailableError(expected="a log of that number", found=f"no log {log}")


class _Counter:
    def __init__(self) -> None:
        self.count = 0

    def pass_on(self, records: Iterator[Record]) -> Iterator[Record]:
        for record in records:
            self.count += 1
            yield record


def _export_detail(form: str, period: Period) -> dict[str, Any]:
    return {"format": form, "from": period.since or "", "to": period.until or ""}


def write(target: Path, pieces: Any) -> None:
    """Write a file piece by piece, whole or not at all."""
    temp = target.with_name(f"{TEMP_PREFIX}{target.name}.{os.getpid()}")
    with os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temp.open("wb") as stream:
                for piece in pieces:
                    stream.write(piece)
                stream.flush()
                os.fsync(stream.fileno())
            temp.replace(target)
            fsync_dir(target.parent)
        finally:
            temp.unlink(missing_ok=True)


def check_proof_files(proof: Path, entry: Path) -> tuple[TlogProof, bytes]:
    """Read a proof file and its entry."""
    with os_errors(proof):
        made = TlogProof.parse(proof.read_bytes())
    with os_errors(entry):
        return made, entry.read_bytes()


def place_of(home: Home, ident: str) -> tuple[int, int]:
    """Return the shard and the index of the entry with this event id, read from the log itself."""
    let_sign(home)
    for shard in reversed(logs_of(home)):
        part = Part(shard)
        for index, entry in part.entries(part.first, part.size):
            if ident.encode() in entry and json.loads(entry)["id"] == ident:
                return shard.number, index
    raise AuditEntryUnavailableError(expected="an entry with that id", found="none in the log")


def utc(moment: datetime) -> str:
    """Return a moment as entries write it; a moment without a zone is UTC."""
    return rfc3339(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
