"""Does the search index say what the log says? A damaged index is rebuilt, never believed."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

from appliance.audit import retention
from appliance.audit.indexstore import NAMED, SEAL, Fact, log_facts, place_of
from appliance.audit.layout import INDEX, shards

TRIES = 3  # a search that catches up meanwhile changes file and seal one after the other
COMPARED = 100_000  # rows compared one by one with the log; beyond, structure and number


def check_index(audit: Path) -> dict[str, Any]:
    """Return ``state`` (absent, ok, behind, damaged) and why, for the search index."""
    path = audit / INDEX
    if not path.exists():
        return {"state": "absent", "rebuildable": True}
    found: dict[str, Any] = {}
    for _ in range(TRIES):
        found = _check(audit, path)
        if found["state"] != "damaged":
            break
    return {**found, "rebuildable": True}


def _check(audit: Path, path: Path) -> dict[str, Any]:
    seal = audit / SEAL
    if seal.exists():
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if seal.read_bytes() != f"{digest}\n".encode():
            return {"state": "damaged", "what": "the file is not what was sealed"}
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return _compare(audit, db)
        finally:
            db.close()
    except (sqlite3.DatabaseError, LookupError, ValueError) as error:
        return {"state": "damaged", "what": type(error).__name__}


def _compare(audit: Path, db: sqlite3.Connection) -> dict[str, Any]:
    if db.execute("PRAGMA quick_check").fetchone()[0] != "ok":
        return {"state": "damaged", "what": "the file's structure"}
    row = db.execute("SELECT value FROM meta WHERE name = 'next'").fetchone()
    log, end = place_of(row[0]) if row else (1, 0)
    rows = db.execute("SELECT count(*) FROM events").fetchone()[0]
    expected = 0
    behind = False
    for shard in shards(audit):
        size = retention.log_size(shard.folder)
        reach = size if shard.number < log else end if shard.number == log else 0
        behind = behind or reach < size
        if reach > size:
            return {"state": "damaged", "what": "rows the log does not have"}
        start = retention.pruned_before(shard.folder)
        expected += max(0, reach - start)
        if rows <= COMPARED:
            for facts in log_facts(shard, start, reach):
                if not _same(db, facts):
                    return {"state": "damaged", "what": "a row says what the log does not"}
    if rows < expected:
        return {"state": "damaged", "what": f"{rows} rows instead of {expected}"}
    return {"state": "behind" if behind else "ok", "rows": rows}


def _same(db: sqlite3.Connection, facts: list[Fact]) -> bool:
    names = ", ".join(f"(SELECT value FROM names WHERE id = e.{name})" for name in NAMED)  # noqa: S608 - columns of the index
    stored = db.execute(
        f"SELECT key, at, id, intent, break_glass, {names} FROM events e"  # noqa: S608 - columns of the index
        " WHERE key >= ? AND key <= ? ORDER BY key",
        (facts[0].key, facts[-1].key),
    ).fetchall()
    wanted = [(f.key, f.at, f.id, f.intent, f.break_glass, *f.names) for f in facts]
    return stored == wanted
