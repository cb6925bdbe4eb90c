"""Retention: old bundles go, the tree stays, and only a logged line excuses what is missing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from appliance.audit import proof, retention, tiles, tree
from appliance.audit.event import Event
from appliance.audit.evidence import Limits, Part, Question, build, entry_time
from appliance.audit.evidence_zip import members_of
from appliance.audit.memory import MemoryRecorder
from appliance.audit.recorder import Receipt
from appliance.audit.witness import WitnessBook
from appliance.core.errors.audit import AuditEntryUnavailableError, AuditEvidenceError
from appliance.core.settings.audit import AuditSettings

SIX_YEARS_LATER = datetime(2032, 3, 1, 6, 0, tzinfo=UTC)


class LogRecorder(MemoryRecorder):
    """Writes its events into a hand-made log, as the writer would."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self.log = log

    def _write(self, event: Event) -> Receipt:
        index = self.log.add(700, event.action, component="audit", detail=dict(event.detail))
        self.log.write()
        return Receipt(index, event)


def planned(log: Any, now: datetime = SIX_YEARS_LATER) -> retention.Plan:
    return retention.plan(log.folder, now, 6, entry_time)


def test_whole_bundles_older_than_the_policy_go_and_the_line_is_logged_first(log: Any) -> None:
    chosen = planned(log)
    assert (chosen.before, chosen.entries) == (256, 256)
    assert retention.prune(chosen, LogRecorder(log), 6, log.folder) == 1
    assert not (log.folder / tiles.entries_path(0)).exists()
    assert (log.folder / tiles.entries_path(1)).exists()
    said = log.read(600)
    assert said["action"] == "audit.prune" and said["detail"]["before"] == 256
    assert retention.pruned_before(log.folder) == 256
    assert planned(log).entries == 0


def test_the_tree_and_every_proof_stay(log: Any) -> None:
    kept = log.entries[10]
    retention.prune(planned(log), LogRecorder(log), 6, log.folder)
    size = len(log.entries)
    hashes = tiles.TileHashes(size, tiles.folder_tiles(log.folder))
    assert tree.root_hash(size, hashes) == tree.fold([tree.leaf_hash(e) for e in log.entries])
    made = proof.make_proof(10, size, hashes, log.checkpoint().encode())
    assert proof.verify_proof(made, kept, log.key).ok


def test_nothing_younger_than_the_policy_goes(log: Any) -> None:
    assert planned(log, datetime(2032, 2, 28, tzinfo=UTC)).entries == 0
    assert planned(log, datetime(2026, 9, 1, tzinfo=UTC)).entries == 0


def test_the_policy_is_six_to_twenty_years_and_never_under_six_months() -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert retention.cutoff_for(now, 0) == now - timedelta(days=183)
    assert AuditSettings().retention_years == 6
    for years in (5, 21):
        with pytest.raises(ValidationError):
            AuditSettings(retention_years=years)


@pytest.mark.parametrize(
    "line",
    [
        {"before": 512, "index": 600, "log": "log-0001"},
        {"before": 256, "index": 599, "log": "log-0001"},
        {"before": 256, "index": 10, "log": "log-0001"},
        {"before": 256, "index": 600, "log": "log-0009"},
        {"before": "256", "index": None, "log": "log-0001"},
        {"before": 0, "index": 600, "log": "log-0001"},
        [],
    ],
)
def test_a_line_that_the_log_does_not_name_excuses_nothing(log: Any, line: Any) -> None:
    retention.prune(planned(log), LogRecorder(log), 6, log.folder)
    (log.folder / retention.LINE_FILE).write_text(json.dumps(line))
    assert retention.pruned_before(log.folder) == 0


def test_a_damaged_line_file_excuses_nothing(log: Any) -> None:
    (log.folder / retention.LINE_FILE).write_bytes(b"\xff")
    assert retention.pruned_before(log.folder) == 0


def test_a_run_that_was_cut_short_is_finished_by_the_next(
    log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(folder: Path, before: int) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("appliance.audit.retention.remove_below", crash)
        with pytest.raises(KeyboardInterrupt):
            retention.prune(planned(log), LogRecorder(log), 6, log.folder)
    assert (log.folder / tiles.entries_path(0)).exists()
    assert retention.prune(planned(log), LogRecorder(log), 6, log.folder) == 1
    assert not (log.folder / tiles.entries_path(0)).exists()


def test_a_closed_log_is_pruned_by_a_line_in_the_next(make_log: Callable[..., Any]) -> None:
    first, second = make_log(1), make_log(2)
    first.opened(0)
    for minute in range(1, 300):
        first.add(minute)
    first.write()
    second.opened(300, first)
    second.write()
    retention.prune(planned(first), LogRecorder(second), 6, second.folder)
    assert retention.pruned_before(first.folder) == 256
    assert retention.pruned_before(second.folder) == 0


def test_a_checkpoint_that_never_comes_prunes_nothing(
    log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "WAIT_S", 0.0)
    with pytest.raises(AuditEntryUnavailableError):
        retention.wait_for(log.folder, 10_000)


def test_evidence_from_after_the_line_verifies_and_from_before_it_is_refused(
    tmp_path: Path, log: Any, book: WitnessBook
) -> None:
    retention.prune(planned(log), LogRecorder(log), 6, log.folder)
    limits = Limits(1000, 10)
    late = Question("2026-03-01T05:00:00.000000Z", "2026-03-01T06:00:00.000000Z")
    for name, data in members_of(build([Part(log.shard)], late, limits, book)):
        (tmp_path / "e" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "e" / name).write_bytes(data)
    command = [sys.executable, "-I", "-S", str(tmp_path / "e" / "verify.py")]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    early = Question("2026-03-01T01:00:00.000000Z", "2026-03-01T06:00:00.000000Z")
    with pytest.raises(AuditEvidenceError, match="before the period"):
        build([Part(log.shard)], early, limits, book)
