"""Carries the host's events into the log, going on where the last run stopped.

The place in each source is kept durable *after* the events before it are: a crash between the two
repeats a few events, and loses none. A repeated event has the same ``source_id`` in its detail.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from appliance.audit.recorder import Recorder
from appliance.audit.sources import HostEvent, parse_auditd, parse_journal
from appliance.core.durable import os_errors, read_json, write_json
from appliance.core.errors import ToolFailedError, ToolMissingError

STATE_FILE: Final = "collect.json"
BATCH: Final = 500  # events between two writes of the place: what a crash may repeat at most
AUDITD_LOG: Final = Path("/var/log/audit/audit.log")
_IDENTIFIERS: Final = ("sshd", "sshd-session", "sudo", "systemd", "podman")


class Journal(Protocol):
    """Where journal lines come from."""

    def read(self, cursor: str | None) -> Iterator[bytes]:
        """Yield ``journalctl -o json`` lines after ``cursor`` (from this boot on without one)."""
        ...


class SystemJournal:
    """The machine's journal, read by ``journalctl``."""

    def __init__(self, program: str = "journalctl") -> None:
        self.program = program

    def read(self, cursor: str | None) -> Iterator[bytes]:
        """Yield lines; raises when journalctl is missing or fails."""
        program = shutil.which(self.program)
        if program is None:
            raise ToolMissingError(expected="journalctl on PATH", found="no such program")
        place = [f"--after-cursor={cursor}"] if cursor else ["--boot"]
        names = [argument for name in _IDENTIFIERS for argument in ("-t", name)]
        command = [program, "--no-pager", "-q", "-o", "json", *place, *names]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None
            yield from process.stdout
            code = process.wait()
        if code:
            raise ToolFailedError(expected="journalctl to read the journal", found=f"exit {code}")


@dataclass(frozen=True)
class Collected:
    """What one pass did."""

    lines: int
    events: int
    damaged: int
    gap: bool = False


class Collector:
    """Passes over the sources; keeps its place in ``folder`` (not the log's own)."""

    def __init__(self, folder: Path, recorder: Recorder) -> None:
        self.path = folder / STATE_FILE
        self.recorder = recorder
        self.state: dict[str, Any] = read_json(self.path) if self.path.exists() else {}

    def journal(self, source: Journal) -> Collected:
        """Take in what the journal gained."""
        lines = events = damaged = waiting = 0
        for line in source.read(self.state.get("journal")):
            lines += 1
            try:
                read = parse_journal(line)
            except (ValueError, KeyError, TypeError):
                damaged += 1
                continue
            if read.event is not None:
                self._record(read.event)
                events += 1
                waiting += 1
            self.state["journal"] = read.cursor
            if waiting >= BATCH:
                self._keep()
                waiting = 0
        if lines:
            self._keep()
        return Collected(lines, events, damaged)

    def auditd(self, path: Path = AUDITD_LOG, *, with_journal: bool = True) -> Collected:
        """Take in what the audit daemon's file gained, over one rotation."""
        lines = events = 0
        kept = self.state.get("auditd") or {}
        files, gap = _files(path, kept)
        if gap:
            self.recorder.event("host.collect_gap", detail={"source": "auditd"}, outcome="unknown")
        for file, start in files:
            for text, end in _lines(file, start):
                lines += 1
                event = parse_auditd(text, with_journal=with_journal)
                if event is not None:
                    self._record(event)
                    events += 1
                self.state["auditd"] = {"inode": file.stat().st_ino, "offset": end}
                if events and events % BATCH == 0:
                    self._keep()
        if lines:
            self._keep()
        return Collected(lines, events, 0, gap)

    def _record(self, event: HostEvent) -> None:
        fields: dict[str, Any] = {}
        if event.subtype is not None:
            fields["subtype"] = event.subtype
        detail = {**event.detail, "source_id": event.source_id, "happened_at": event.at}
        self.recorder.event(
            event.action,
            detail=detail,
            outcome=event.outcome,  # type: ignore[arg-type]  # one of the four words, by the rules
            reason=event.reason,
            user=event.user or "host",
            ip=event.ip,
            object_id=event.object_id,
            **fields,
        )

    def _keep(self) -> None:
        write_json(self.path, self.state)


def _files(path: Path, kept: dict[str, Any]) -> tuple[list[tuple[Path, int]], bool]:
    """Return which files to read from where, and whether records may be missing between."""
    with os_errors(path):
        status = path.stat()
    if not kept:
        return [(path, 0)], False
    inode, offset = int(kept["inode"]), int(kept["offset"])
    if status.st_ino == inode and status.st_size >= offset:
        return [(path, offset)], False
    older = path.with_name(path.name + ".1")
    if older.exists() and older.stat().st_ino == inode and older.stat().st_size >= offset:
        return [(older, offset), (path, 0)], False
    return [(path, 0)], True


def _lines(path: Path, start: int) -> Iterator[tuple[str, int]]:
    """Yield complete lines and where each ends; an unfinished last line waits for its end."""
    with os_errors(path), path.open("rb") as stream:
        stream.seek(start)
        end = start
        for line in stream:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield line.decode("utf-8", "replace").rstrip("\n"), end
