"""Searching the log: filters, pages, counts by day, values to choose from.

``open_index`` catches up with the log first, so an answer covers every entry of the newest
checkpoint. The entry itself is always read from the log (:meth:`Index.entry`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from appliance.audit.event import parse_entry
from appliance.audit.indexstore import (
    DAY_US,
    KINDS,
    NAMED,
    IndexStore,
    key_of,
    microseconds,
    place_of,
    row_names,
    short_id,
    time_text,
)
from appliance.audit.layout import shards
from appliance.audit.tiles import TILE_WIDTH, read_bundle
from appliance.core.errors import InputMissingError
from appliance.core.progress import Progress

COLUMNS = ("key", "at", "break_glass", *NAMED)


@dataclass(frozen=True)
class Filter:
    """What to look for; absent parts match everything.

    ``action`` may end in ``.*`` (or be a bare first part) to match everything under it; ``since``
    is included, ``until`` is not.
    """

    since: datetime | None = None
    until: datetime | None = None
    user: str | None = None
    patient: str | None = None
    model: str | None = None
    action: str | None = None
    object_id: str | None = None
    outcome: str | None = None
    component: str | None = None
    phase: str | None = None
    role: str | None = None
    break_glass: bool | None = None


@dataclass(frozen=True)
class Row:
    """One entry as the index shows it."""

    log: int
    n: int
    at: str
    break_glass: bool
    action: str
    user: str | None
    patient: str | None
    object_id: str | None
    model: str | None
    outcome: str | None
    component: str
    role: str | None
    phase: str
    category: str | None
    reason: str | None

    @property
    def key(self) -> int:
        """The entry's place in the total order (for paging)."""
        return key_of(self.log, self.n)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, absent members left out."""
        return {k: v for k, v in self.__dict__.items() if v is not None}


class Index:
    """An index that has caught up with its log."""

    def __init__(self, audit: Path, progress: Progress | None = None) -> None:
        """Open the index of the audit folder ``audit`` and take in what is new."""
        self.audit = audit
        self._store = IndexStore(audit)
        self.refresh(progress)

    def refresh(self, progress: Progress | None = None) -> int:
        """Take in what the log has gained; return how many entries."""
        try:
            return self._store.catch_up(progress)
        except sqlite3.DatabaseError:
            self._store.rebuild()
            return self._store.catch_up(progress)

    def rebuild(self, progress: Progress | None = None) -> int:
        """Make the whole index again from the log; return how many entries it has."""
        self._store.rebuild()
        return self._store.catch_up(progress)

    def search(
        self,
        wanted: Filter,
        *,
        limit: int = 100,
        before: int | None = None,
        after: int | None = None,
    ) -> list[Row]:
        """Return the newest matching rows first; page on with the last row's ``key``.

        With ``after`` the rows that follow that key come, oldest first.
        """
        where, values = self._where(wanted)
        if where is None:
            return []
        if before is not None:
            where, values = [*where, "key < ?"], [*values, before]
        if after is not None:
            where, values = [*where, "key > ?"], [*values, after]
        order = "ASC" if after is not None else "DESC"
        clause = f"WHERE {' AND '.join(where)}" if where else ""
        found = self._store.db.execute(
            f"SELECT {', '.join(COLUMNS)} FROM events {clause} ORDER BY key {order} LIMIT ?",  # noqa: S608 - columns of this module; values are bound
            [*values, limit],
        ).fetchall()
        return self._rows(found)

    def count(self, wanted: Filter) -> int:
        """Return how many entries match."""
        where, values = self._where(wanted)
        if where is None:
            return 0
        if not where:
            return int(self._store.db.execute("SELECT coalesce(sum(n), 0) FROM days").fetchone()[0])
        clause = " AND ".join(where)
        query = f"SELECT count(*) FROM events WHERE {clause}"  # noqa: S608 - clauses of this module; values are bound
        return int(self._store.db.execute(query, values).fetchone()[0])

    def per_day(self, wanted: Filter) -> list[tuple[str, int]]:
        """Return (day, entries) in UTC, oldest first, days without entries left out."""
        where, values = self._where(wanted)
        if where is None:
            return []
        if where:
            clause = " AND ".join(where)
            query = (
                f"SELECT at / {DAY_US}, count(*) FROM events WHERE {clause} GROUP BY 1 ORDER BY 1"  # noqa: S608 - clauses of this module; values are bound
            )
        else:
            query = "SELECT day, n FROM days ORDER BY day"
        found = self._store.db.execute(query, values)
        return [(time_text(day * DAY_US)[:10], number) for day, number in found]

    def values(self, name: str, *, prefix: str = "", limit: int = 200) -> list[tuple[str, int]]:
        """Return the values a member has had and how often, in alphabetical order.

        ``name`` is one of ``NAMED``; raises ``KeyError`` for another.
        """
        found = self._store.db.execute(
            "SELECT value, n FROM names WHERE kind = ? AND value >= ? AND value < ?"
            " ORDER BY value LIMIT ?",
            (KINDS[name], prefix, prefix + "\U0010ffff", limit),
        )
        return [(value, number) for value, number in found]

    def entry(self, log: int, n: int) -> dict[str, Any]:
        """Read an entry from the log itself; raises ``InputMissingError`` when it is not there."""
        for shard in shards(self.audit):
            if shard.number == log:
                try:
                    bundle = read_bundle(shard.folder, n // TILE_WIDTH, n % TILE_WIDTH + 1)
                    return parse_entry(bundle[-1])
                except (LookupError, ValueError) as error:
                    raise InputMissingError(
                        expected="an entry of the log",
                        found=f"none that can be read at {n} of log {log}",
                        remedy="Check the number of the entry, and verify the log.",
                    ) from error
        raise InputMissingError(
            expected="a log of that number",
            found=f"no log {log}",
            remedy="Check the number of the entry, and verify the log.",
        )

    def by_id(self, ident: str) -> Row | None:
        """Return the row of the event with this id."""
        return self._one("id", short_id(ident))

    def outcomes_of(self, intent: str) -> list[Row]:
        """Return the outcomes that name the intent, oldest first."""
        found = self._store.db.execute(
            f"SELECT {', '.join(COLUMNS)} FROM events WHERE intent = ? ORDER BY key",  # noqa: S608 - columns of this module; values are bound
            (short_id(intent),),
        ).fetchall()
        return self._rows(found)

    def position(self) -> tuple[int, int]:
        """Return the shard and the leaf index up to which the answers reach."""
        return self._store.position()

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> Self:
        """Return the index itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def _one(self, column: str, value: int) -> Row | None:
        found = self._store.db.execute(
            f"SELECT {', '.join(COLUMNS)} FROM events WHERE {column} = ? LIMIT 1",  # noqa: S608 - columns of this module; values are bound
            (value,),
        ).fetchall()
        rows = self._rows(found)
        return rows[0] if rows else None

    def _where(self, wanted: Filter) -> tuple[list[str] | None, list[Any]]:
        """Return conditions and their values; ``None`` when a string was never logged."""
        where: list[str] = []
        values: list[Any] = []
        if wanted.since is not None:
            where, values = [*where, "at >= ?"], [*values, microseconds(wanted.since)]
        if wanted.until is not None:
            where, values = [*where, "at < ?"], [*values, microseconds(wanted.until)]
        if wanted.break_glass is not None:
            where, values = [*where, "break_glass = ?"], [*values, int(wanted.break_glass)]
        for name in KINDS:
            text = getattr(wanted, name, None)
            if text is None:
                continue
            ids = self._ids(name, text)
            if not ids:
                return None, []
            marks = ",".join("?" * len(ids))
            where.append(f"{name} = ?" if len(ids) == 1 else f"{name} IN ({marks})")
            values += ids
        return where, values

    def _ids(self, name: str, text: str) -> list[int]:
        kind = KINDS[name]
        if name == "action" and (text.endswith(".*") or "." not in text):
            prefix = text.removesuffix(".*") + "."
            found = self._store.db.execute(
                "SELECT id FROM names WHERE kind = ? AND value >= ? AND value < ?",
                (kind, prefix, prefix[:-1] + "/"),  # the character after the full stop
            )
        else:
            found = self._store.db.execute(
                "SELECT id FROM names WHERE kind = ? AND value = ?", (kind, text)
            )
        return [row[0] for row in found]

    def _rows(self, found: Sequence[tuple[Any, ...]]) -> list[Row]:
        ids = sorted({ident for row in found for ident in row[3:] if ident is not None})
        names: dict[int, str] = {}
        for start in range(0, len(ids), 500):
            names |= row_names(self._store.db, ids[start : start + 500])
        rows = []
        for key, at, break_glass, *rest in found:
            log, n = place_of(key)
            texts = {
                name: None if ident is None else names[ident]
                for name, ident in zip(NAMED, rest, strict=True)
            }
            rows.append(
                Row(log=log, n=n, at=time_text(at), break_glass=bool(break_glass), **texts)  # type: ignore[arg-type] # action, component and phase are never absent
            )
        return rows


def open_index(audit: Path, progress: Progress | None = None) -> Index:
    """Open the search index of an audit folder, caught up with the log."""
    return Index(audit, progress)
