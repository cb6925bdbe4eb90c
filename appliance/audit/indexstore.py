"""The search index's file: made from the log, thrown away and made again at any time.

Strings are kept once, in ``names``; a row of ``events`` holds only numbers (some 60 bytes), so
that even a filter no index serves is answered by reading a few tens of MB. Nothing is believed
because it stands here: what a person opens is read from the log.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from appliance.audit import retention
from appliance.audit.event import parse_entry
from appliance.audit.layout import INDEX, Shard, shards
from appliance.audit.tiles import TILE_WIDTH, read_bundle
from appliance.core.clock import rfc3339
from appliance.core.durable import write_bytes
from appliance.core.progress import NoProgress, Progress

SCHEMA_VERSION: Final = 1
LOG_SHIFT: Final = 40  # a key is the shard's number and the leaf index: the total order
SEAL: Final = f"{INDEX}.sha256"
SEAL_BYTES: Final = 64 << 20  # larger files are checked row by row instead of sealed
BATCH_BUNDLES: Final = 32
BUSY_S: Final = 10.0
NAMED: Final = (
    "action",
    "user",
    "patient",
    "object_id",
    "model",
    "outcome",
    "component",
    "role",
    "phase",
    "category",
    "reason",
)
KINDS: Final = {name: number for number, name in enumerate(NAMED)}
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)

_SCHEMA = f"""
PRAGMA user_version = {SCHEMA_VERSION};
CREATE TABLE names (id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, value TEXT NOT NULL,
  n INTEGER NOT NULL DEFAULT 0, UNIQUE (kind, value));
CREATE TABLE events (key INTEGER PRIMARY KEY, at INTEGER NOT NULL, id INTEGER NOT NULL,
  intent INTEGER, break_glass INTEGER NOT NULL,
  {", ".join(f"{name} INTEGER" for name in NAMED)});
CREATE TABLE days (day INTEGER PRIMARY KEY, n INTEGER NOT NULL);
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE INDEX by_at ON events (at);
CREATE INDEX by_id ON events (id);
CREATE INDEX by_intent ON events (intent) WHERE intent IS NOT NULL;
CREATE INDEX by_break_glass ON events (break_glass) WHERE break_glass = 1;
"""
_INDEXED: Final = ("action", "user", "patient", "object_id", "model", "outcome", "component")
DAY_US: Final = 86_400_000_000


def key_of(log: int, n: int) -> int:
    """Return the key of entry ``n`` of shard ``log``."""
    return (log << LOG_SHIFT) | n


def place_of(key: int) -> tuple[int, int]:
    """Return the shard and the leaf index of a key."""
    return key >> LOG_SHIFT, key & ((1 << LOG_SHIFT) - 1)


def microseconds(moment: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def time_text(at: int) -> str:
    """Return the RFC 3339 text of microseconds since 1970."""
    return rfc3339(_EPOCH + at * _MICROSECOND)


def short_id(ident: str) -> int:
    """Return 63 bits of an event id: enough to find it, checked against the log afterwards."""
    return int(ident[:16], 16) >> 1


@dataclass(frozen=True)
class Fact:
    """What the index keeps of an entry: numbers, and the strings that become numbers."""

    key: int
    at: int
    id: int
    intent: int | None
    break_glass: int
    names: tuple[str | None, ...]


def fact_of(entry: bytes, log: int, n: int) -> Fact:
    """Read an entry as the index sees it; raises ``ValueError`` or ``KeyError``."""
    value = parse_entry(entry)
    intent = value.get("intent")
    return Fact(
        key_of(log, n),
        microseconds(datetime.fromisoformat(value["written"]["at"])),
        short_id(value["id"]),
        short_id(intent) if intent else None,
        1 if value.get("break_glass") else 0,
        tuple(value.get(name) for name in NAMED),
    )


def log_facts(shard: Shard, start: int, size: int) -> Iterator[list[Fact]]:
    """Yield the facts of the entries from ``start`` to ``size``, a bundle at a time."""
    pruned = retention.pruned_before(shard.folder)
    for n in range(max(start, pruned) // TILE_WIDTH, (size + TILE_WIDTH - 1) // TILE_WIDTH):
        first = n * TILE_WIDTH
        entries = read_bundle(shard.folder, n, min(TILE_WIDTH, size - first))
        yield [
            fact_of(entry, shard.number, index)
            for index, entry in enumerate(entries, first)
            if index >= start
        ]


class IndexStore:
    """An open index file. One thread at a time."""

    def __init__(self, audit: Path) -> None:
        """Open the index of an audit folder; a damaged or outdated one is made anew."""
        self.audit = audit
        self.path = audit / INDEX
        try:
            self.db = self._open()
        except sqlite3.DatabaseError:
            self._remove()
            self.db = self._open()

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None)
        try:
            # No flushes: a power cut may cost the index, which the log gives back.
            db.execute("PRAGMA synchronous = OFF")
            db.execute("PRAGMA cache_size = -65536")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                db.execute("BEGIN IMMEDIATE")
                if db.execute("PRAGMA user_version").fetchone()[0] == 0:
                    for statement in _SCHEMA.split(";"):
                        db.execute(statement)
                    for name in _INDEXED:
                        db.execute(f"CREATE INDEX by_{name} ON events ({name})")
                db.execute("COMMIT")
        except sqlite3.DatabaseError:
            db.close()
            raise
        if version not in {0, SCHEMA_VERSION}:
            db.close()
            raise sqlite3.DatabaseError("another version")
        return db

    def _remove(self) -> None:
        for suffix in ("", "-journal", ".sha256"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)

    def rebuild(self) -> None:
        """Throw everything away; :meth:`catch_up` makes it again."""
        self.db.close()
        self._remove()
        self.db = self._open()

    def close(self) -> None:
        """Close the file."""
        self.db.close()

    def position(self) -> tuple[int, int]:
        """Return the shard and the leaf index from which entries are missing."""
        row = self.db.execute("SELECT value FROM meta WHERE name = 'next'").fetchone()
        return place_of(row[0]) if row else (1, 0)

    def catch_up(self, progress: Progress | None = None) -> int:
        """Take in what the checkpoints cover and the index lacks; return how many entries."""
        said = progress or NoProgress()
        taken = 0
        chain = shards(self.audit)
        log, start = self.position()
        sizes = [retention.log_size(shard.folder) for shard in chain]
        if start and (log > len(chain) or start > sizes[log - 1]):
            self.rebuild()  # the log is shorter than what was indexed: an older copy, or damage
            log = 1
        for shard, size in list(zip(chain, sizes, strict=True))[log - 1 :]:
            taken += self._take(shard, size, said)
        if taken:
            if taken > TILE_WIDTH * BATCH_BUNDLES:
                self.db.execute("ANALYZE")
            self._seal()
        return taken

    def _take(self, shard: Shard, size: int, progress: Progress) -> int:
        log, start = self.position()
        if log < shard.number:
            start = 0
        taken = 0
        batch: list[Fact] = []
        for number, facts in enumerate(log_facts(shard, start, size), 1):
            batch += facts
            if number % BATCH_BUNDLES == 0:
                taken += self._insert(batch)
                batch = []
                progress.update(start + taken, size, "indexed")
        return taken + self._insert(batch)

    def _insert(self, facts: Sequence[Fact]) -> int:
        if not facts:
            return 0
        self.db.execute("BEGIN IMMEDIATE")
        try:
            if self.db.execute("SELECT 1 FROM events WHERE key = ?", (facts[0].key,)).fetchone():
                self.db.execute("ROLLBACK")  # another process took them in
                return 0
            ids = self._name_ids(facts)
            self.db.executemany(
                f"INSERT INTO events VALUES (?,?,?,?,?{',?' * len(NAMED)})",  # noqa: S608 - only question marks
                [(f.key, f.at, f.id, f.intent, f.break_glass, *_numbers(f, ids)) for f in facts],
            )
            self._count_days(facts)
            self.db.execute("INSERT OR REPLACE INTO meta VALUES ('next', ?)", (facts[-1].key + 1,))
            self.db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self.db.execute("ROLLBACK")
            raise
        return len(facts)

    def _name_ids(self, facts: Sequence[Fact]) -> dict[tuple[int, str], int]:
        counts: dict[tuple[int, str], int] = {}
        for fact in facts:
            for pair in enumerate(fact.names):
                if pair[1] is not None:
                    counts[pair] = counts.get(pair, 0) + 1  # type: ignore[index,arg-type] # None is excluded above
        ids: dict[tuple[int, str], int] = {}
        insert = (
            "INSERT INTO names (kind, value, n) VALUES (?, ?, ?)"
            " ON CONFLICT (kind, value) DO UPDATE SET n = n + excluded.n RETURNING id"
        )
        for (kind, value), number in counts.items():
            ids[kind, value] = self.db.execute(insert, (kind, value, number)).fetchone()[0]
        return ids

    def _count_days(self, facts: Sequence[Fact]) -> None:
        days: dict[int, int] = {}
        for fact in facts:
            days[fact.at // DAY_US] = days.get(fact.at // DAY_US, 0) + 1
        self.db.executemany(
            "INSERT INTO days VALUES (?, ?) ON CONFLICT (day) DO UPDATE SET n = n + excluded.n",
            list(days.items()),
        )

    def _seal(self) -> None:
        """Keep the hash of a small index beside it, so that a changed byte shows in a verify."""
        seal = self.audit / SEAL
        if self.path.stat().st_size > SEAL_BYTES:
            seal.unlink(missing_ok=True)
            return
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        write_bytes(seal, f"{digest}\n".encode())


def _numbers(fact: Fact, ids: dict[tuple[int, str], int]) -> Iterator[int | None]:
    for kind, text in enumerate(fact.names):
        yield None if text is None else ids[kind, text]


def row_names(db: sqlite3.Connection, ids: Sequence[int]) -> dict[int, str]:
    """Return the strings of name ids."""
    marks = ",".join("?" * len(ids))
    found: Any = db.execute(f"SELECT id, value FROM names WHERE id IN ({marks})", list(ids))  # noqa: S608 - only question marks
    return dict(found)
