"""Retention: old entry bundles go, the tree and every proof stay (C2SP tlog-tiles, "Pruning").

The pruning line is written into the log before a single bundle is removed, and ``pruned.json`` in
the log's folder only *points at* that entry: :func:`pruned_before` believes it when the entry says
the same. So a missing bundle below the line is retention, a missing bundle above it is damage, and
whoever wants to move the line has to say so in the log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from appliance.audit.note import Checkpoint, Note
from appliance.audit.recorder import Recorder
from appliance.audit.tiles import TILE_WIDTH, entries_path, read_bundle
from appliance.core.clock import rfc3339
from appliance.core.durable import fsync_dir, os_errors, read_json, write_json
from appliance.core.errors import ApplianceError
from appliance.core.errors.audit import AuditEntryUnavailableError

LINE_FILE: Final = "pruned.json"
ACTION: Final = "audit.prune"
FLOOR: Final = timedelta(days=183)  # EU AI Act Art. 19: logs are kept at least six months
WAIT_S: Final = 10.0  # the checkpoint covers a durable entry within 2 s


@dataclass(frozen=True)
class Plan:
    """What retention would remove from one log: the bundles below ``before``."""

    folder: Path
    before: int
    already: int
    cutoff: str

    @property
    def entries(self) -> int:
        """How many entries would go."""
        return max(0, self.before - self.already)


def log_size(folder: Path) -> int:
    """Return the size the log's checkpoint names (unverified: for reading, not for believing)."""
    with os_errors(folder / "checkpoint"):
        data = (folder / "checkpoint").read_bytes()
    return Checkpoint.parse(Note.parse(data).text).size


def pruned_before(folder: Path) -> int:
    """Return the index below which entry bundles may be missing; 0 when nothing was pruned.

    ``pruned.json`` counts only when the entry it names, in this log or in a later one beside it,
    is an ``audit.prune`` event for this log with the same line, and is not itself below it. (That
    the entry is true is what ``audit verify`` shows, as for every entry.)
    """
    path = folder / LINE_FILE
    if not path.exists():
        return 0
    try:
        kept = read_json(path)
        before, index = int(kept["before"]), int(kept["index"])
        n, offset = divmod(index, TILE_WIDTH)
        holder = folder.parent / Path(str(kept["log"])).name
        said = json.loads(read_bundle(holder, n, offset + 1)[offset])
        same = said["action"] == ACTION and said["written"]["n"] == index
        same = same and said["detail"]["before"] == before and said["detail"]["log"] == folder.name
    except (ApplianceError, LookupError, ValueError, TypeError, OSError):
        return 0
    above = holder.name != folder.name or index >= before
    return before if same and above and before > 0 and before % TILE_WIDTH == 0 else 0


def cutoff_for(now: datetime, years: int) -> datetime:
    """Return the moment before which entries have outlived ``years`` (never under six months)."""
    return min(now - timedelta(days=round(years * 365.25)), now - FLOOR)


def plan(folder: Path, now: datetime, years: int, entry_time: Callable[[bytes], str]) -> Plan:
    """Find the line: every bundle below it has only entries older than the retention time."""
    cutoff = rfc3339(cutoff_for(now, years))
    already = pruned_before(folder)
    line = already
    for n in range(already // TILE_WIDTH, log_size(folder) // TILE_WIDTH):
        newest = max(entry_time(entry) for entry in read_bundle(folder, n, TILE_WIDTH))
        if newest >= cutoff:
            break
        line = (n + 1) * TILE_WIDTH
    return Plan(folder, line, already, cutoff)


def prune(chosen: Plan, recorder: Recorder, years: int, current: Path) -> int:
    """Log the line in the ``current`` log, then remove the bundles; return how many were removed.

    The order makes a crash harmless: a line without removal is removed by the next run.
    """
    if not chosen.entries:
        return remove_below(chosen.folder, chosen.already)
    receipt = recorder.event(
        ACTION,
        crude="D",
        detail={
            "before": chosen.before,
            "entries": chosen.entries,
            "years": years,
            "cutoff": chosen.cutoff,
            "log": chosen.folder.name,
        },
    )
    wait_for(current, receipt.index)
    line = {"before": chosen.before, "index": receipt.index, "log": current.name}
    write_json(chosen.folder / LINE_FILE, line)
    return remove_below(chosen.folder, chosen.before)


def remove_below(folder: Path, before: int) -> int:
    """Remove the entry bundles that end at or below ``before``; return how many there were."""
    removed = 0
    for n in range(before // TILE_WIDTH):
        path = folder / entries_path(n)
        found = path.exists()
        path.unlink(missing_ok=True)
        partials = path.with_name(path.name + ".p")
        for partial in sorted(partials.glob("*")) if partials.is_dir() else ():
            partial.unlink(missing_ok=True)
        removed += found
        if found:
            fsync_dir(path.parent)
    return removed


def wait_for(folder: Path, index: int, *, pause: Callable[[float], None] = time.sleep) -> None:
    """Wait until the log's checkpoint covers ``index``."""
    deadline = time.monotonic() + WAIT_S
    while log_size(folder) <= index:
        if time.monotonic() > deadline:
            raise AuditEntryUnavailableError(
                expected=f"a checkpoint that covers entry {index}",
                found=f"none within {WAIT_S:.0f} s",
            )
        pause(0.05)
