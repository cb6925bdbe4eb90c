"""What the pages read from the log: rows by filter, one entry with its proof, states of items."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Final

from appliance.audit.evidence import Part
from appliance.audit.index import Filter, Index, Row
from appliance.audit.indexstore import key_of
from appliance.audit.officer import book_of, logs_of
from appliance.audit.proof import TlogProof, Verdict, cosignatures, make_proof, verify_proof
from appliance.console.flags import Flag, find_flags, is_access
from appliance.console.reviews import REVIEW, SIGN_OFF, ItemState, fold
from appliance.console.sampling import Draw, digest, draw
from appliance.core.errors import InputMissingError
from appliance.core.errors.audit import AuditEntryUnavailableError
from appliance.core.home import Home
from appliance.core.settings.console import ConsoleSettings

BATCH: Final = 5000
SETTLED: Final = timedelta(hours=1)  # after midnight; the checkpoint follows an entry in seconds
_ITEM = re.compile(r"e([1-9][0-9]{0,5})n(0|[1-9][0-9]{0,12})\Z")


def item_of(log: int, n: int) -> str:
    """Return the name under which reviews speak of an entry (no separators: never a number)."""
    return f"e{log}n{n}"


def place_of_item(item: str) -> tuple[int, int]:
    """Return shard and index of an item that is an entry; raises ``InputMissingError``."""
    match = _ITEM.match(item)
    if match is None:
        raise InputMissingError(expected="the name of an entry", found="another name")
    return int(match[1]), int(match[2])


@dataclass(frozen=True)
class Proven:
    """An entry's bytes, its proof, and what the proof shows."""

    entry: bytes
    proof: TlogProof
    verdict: Verdict
    origin: str
    witnesses: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class DayFlags:
    """The flags of a day, and whether there were more accesses than are looked at."""

    flags: tuple[Flag, ...] = ()
    cut: bool = False


class FlagBoard:
    """The flags of the last days. A day that is over changes no more and is worked out once."""

    def __init__(self, settings: ConsoleSettings, zone: tzinfo) -> None:
        self.settings = settings
        self.zone = zone
        self._over: dict[date, DayFlags] = {}

    def of_day(self, log: LogReader, day: date, now: datetime) -> DayFlags:
        """Return the flags of one local day."""
        kept = self._over.get(day)
        if kept is None:
            kept = log.flags(day, self.zone)
            if day_bounds(day.isoformat(), self.zone)[1] + SETTLED < now:
                self._over[day] = kept
                for old in sorted(self._over)[: -2 * self.settings.flag_days]:
                    self._over.pop(old, None)
        return kept

    def recent(self, log: LogReader, now: datetime) -> DayFlags:
        """Return the flags of the days that are looked at, newest day first."""
        today = now.astimezone(self.zone).date()
        days = [today - timedelta(days=back) for back in range(self.settings.flag_days)]
        found = [self.of_day(log, day, now) for day in days]
        return DayFlags(tuple(f for d in found for f in d.flags), any(d.cut for d in found))


class LogReader:
    """One request's view of the log, by one thread."""

    def __init__(self, home: Home, index: Index, settings: ConsoleSettings) -> None:
        self.home = home
        self.index = index
        self.settings = settings

    def states(self) -> dict[str, ItemState]:
        """Return the state of every item that has a review."""
        rows = [*self._all(Filter(action=REVIEW)), *self._all(Filter(action=SIGN_OFF))]
        return fold(rows)

    def state(self, item: str) -> ItemState:
        """Return the state of one item."""
        return fold(self.acts(item)).get(item, ItemState())

    def acts(self, item: str) -> list[Row]:
        """Return the reviews and sign-offs of an item, oldest first."""
        rows = [
            row
            for action in (REVIEW, SIGN_OFF)
            for row in self._all(Filter(action=action, object_id=item))
        ]
        return sorted(rows, key=lambda r: r.key)

    def emergencies(
        self, since: datetime, until: datetime | None = None, *, limit: int
    ) -> list[Row]:
        """Return emergency accesses (what came of them, not the intents), newest first."""
        found = []
        for phase in ("outcome", "event"):
            wanted = Filter(since=since, until=until, break_glass=True, phase=phase)
            found += self.index.search(wanted, limit=limit)
        return sorted(found, key=lambda r: -r.key)[:limit]

    def flags(self, day: date, zone: tzinfo) -> DayFlags:
        """Return the flags of a local day, looking at its newest accesses up to the bound."""
        since, until = day_bounds(day.isoformat(), zone)
        rows: list[Row] = []
        limit = self.settings.flag_rows
        for action in self._access_actions():
            room = limit - len(rows) + 1
            if room > 0:
                asked = Filter(since=since, until=until, action=action)
                rows += self.index.search(asked, limit=room)
        found = find_flags(rows[:limit], self.settings, zone)
        return DayFlags(tuple(found), len(rows) > limit)

    def access_keys(self, since: datetime, until: datetime) -> list[int]:
        """Return the keys of the accesses of a period, oldest first, within the sample's bound."""
        keys: list[int] = []
        for action in self._access_actions():
            for row in self._all(Filter(since=since, until=until, action=action)):
                if is_access(row, self.settings):
                    keys.append(row.key)
                if len(keys) > self.settings.sample_population:
                    raise AuditEntryUnavailableError(
                        expected=f"at most {self.settings.sample_population} accesses in a period",
                        found="more",
                        remedy="Draw from a shorter period.",
                    )
        return sorted(keys)

    def redraw(self, made: Draw) -> tuple[list[Row], bool]:
        """Draw a sample again; the flag says whether it is the one that the log describes."""
        since, until = datetime.fromisoformat(made.since), datetime.fromisoformat(made.until)
        keys = self.access_keys(since, until)
        chosen = draw(keys, made.seed, made.size)
        same = digest(chosen) == made.digest and len(keys) == made.population
        return [row for key in chosen for row in self.rows_at([key])], same

    def rows_at(self, keys: Sequence[int]) -> list[Row]:
        """Return the rows of keys that are there."""
        found = []
        for key in keys:
            rows = self.index.search(Filter(), after=key - 1, limit=1)
            found += [row for row in rows if row.key == key]
        return found

    def row(self, log: int, n: int) -> Row:
        """Return the row of an entry."""
        for row in self.index.search(Filter(), after=key_of(log, n) - 1, limit=1):
            if (row.log, row.n) == (log, n):
                return row
        raise InputMissingError(expected="an entry of the log", found="none at that place")

    def prove(self, log: int, n: int) -> Proven:
        """Read an entry, make its proof and check it under the log's and the witnesses' keys."""
        for shard in logs_of(self.home):
            if shard.number == log:
                part = Part(shard)
                break
        else:
            raise InputMissingError(expected="a log of that number", found="none")
        if not part.first <= n < part.size:
            raise AuditEntryUnavailableError(
                expected=f"an index from {part.first} to {part.size - 1}", found=str(n)
            )
        book = book_of(self.home)
        part.witnessed(book, n + 1)
        entry = next(part.entries(n, n + 1))[1]
        proof = TlogProof.parse(make_proof(n, part.size, part.read, part.note.encode()).encode())
        verdict = verify_proof(proof, entry, shard.verifier, book.policy().witnesses)
        seen = tuple(cosignatures(verdict.cosigned))
        return Proven(entry, proof, verdict, part.key.name, seen)

    def _access_actions(self) -> list[str]:
        names = [name for name, _ in self.index.values("action", limit=1000)]
        return [name for name in names if name.startswith(self.settings.flag_actions)]

    def _all(self, wanted: Filter) -> Iterator[Row]:
        last: int | None = None
        while True:
            rows = self.index.search(wanted, limit=BATCH, before=last)
            yield from rows
            if len(rows) < BATCH:
                return
            last = rows[-1].key


@contextmanager
def reading(home: Home, settings: ConsoleSettings) -> Iterator[LogReader]:
    """Open the log for one request."""
    with Index(home.audit) as index:
        yield LogReader(home, index, settings)


def day_bounds(day: str, zone: tzinfo) -> tuple[datetime, datetime]:
    """Return the beginning and the end of a local day; raises ``ValueError``."""
    start = datetime.fromisoformat(day).replace(tzinfo=zone)
    return start, start + timedelta(days=1)
