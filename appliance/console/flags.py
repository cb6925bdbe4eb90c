"""What deserves a look although nobody asked: pure rules over rows of the index.

Each flag is one item for review. Its id depends on rule, subject and day only, so that it stays
the same item while the day goes on and when the thresholds change.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final, Protocol

from appliance.core.settings.console import ConsoleSettings

UNUSUAL_HOUR: Final = "unusual_hour"
VOLUME: Final = "volume"
REFUSED: Final = "refused"
SHARED_PATIENT: Final = "shared_patient"
RULES: Final = (UNUSUAL_HOUR, VOLUME, REFUSED, SHARED_PATIENT)


class AccessRow(Protocol):
    """What the rules need of an entry (the index's row has it)."""

    @property
    def at(self) -> str: ...  # noqa: D102 - a member, not a method
    @property
    def action(self) -> str: ...  # noqa: D102 - a member, not a method
    @property
    def user(self) -> str | None: ...  # noqa: D102 - a member, not a method
    @property
    def patient(self) -> str | None: ...  # noqa: D102 - a member, not a method
    @property
    def outcome(self) -> str | None: ...  # noqa: D102 - a member, not a method
    @property
    def phase(self) -> str: ...  # noqa: D102 - a member, not a method
    @property
    def log(self) -> int: ...  # noqa: D102 - a member, not a method
    @property
    def n(self) -> int: ...  # noqa: D102 - a member, not a method


@dataclass(frozen=True)
class Flag:
    """One thing to look at: the rule, whom it is about, the day, how often, which entries."""

    rule: str
    subject: str
    day: str
    count: int
    threshold: int
    users: tuple[str, ...]
    entries: tuple[tuple[int, int], ...]

    @property
    def id(self) -> str:
        """The item's name in reviews."""
        return flag_id(self.rule, self.subject, self.day)


def flag_id(rule: str, subject: str, day: str) -> str:
    """Return the id of a flag (96 bits: flags of a hospital's life do not meet)."""
    return "f" + hashlib.sha256(f"{rule}\n{subject}\n{day}".encode()).hexdigest()[:24]


def is_access(row: AccessRow, settings: ConsoleSettings) -> bool:
    """Say whether an entry is an access: what came of it, not the intent before it."""
    return row.phase != "intent" and row.action.startswith(settings.flag_actions)


def find_flags(rows: Iterable[AccessRow], settings: ConsoleSettings, zone: tzinfo) -> list[Flag]:
    """Return the flags of ``rows``, newest day first."""
    days: dict[str, list[tuple[int, AccessRow]]] = defaultdict(list)
    for row in rows:
        if is_access(row, settings):
            local = datetime.fromisoformat(row.at).astimezone(zone)
            days[local.date().isoformat()].append((local.hour, row))
    found: list[Flag] = []
    for day in sorted(days, reverse=True):
        found += sorted(_of_day(day, days[day], settings), key=lambda f: (f.rule, f.subject))
    return found


def _of_day(
    day: str, rows: Sequence[tuple[int, AccessRow]], settings: ConsoleSettings
) -> Iterator[Flag]:
    by_user: dict[str, list[tuple[int, AccessRow]]] = defaultdict(list)
    by_patient: dict[str, list[AccessRow]] = defaultdict(list)
    for hour, row in rows:
        if row.user:
            by_user[row.user].append((hour, row))
            if row.patient:
                by_patient[row.patient].append(row)
    for user, own in by_user.items():
        late = [r for h, r in own if not settings.usual_from <= h < settings.usual_until]
        refused = [r for _, r in own if r.outcome == "refused"]
        if late:
            yield _flag(UNUSUAL_HOUR, user, day, late, 1)
        if len(own) >= settings.volume_per_day:
            yield _flag(VOLUME, user, day, [r for _, r in own], settings.volume_per_day)
        if len(refused) >= settings.refused_per_day:
            yield _flag(REFUSED, user, day, refused, settings.refused_per_day)
    for patient, touched in by_patient.items():
        if len({r.user for r in touched}) >= settings.patient_users:
            yield _flag(SHARED_PATIENT, patient, day, touched, settings.patient_users)


def _flag(rule: str, subject: str, day: str, rows: Sequence[AccessRow], threshold: int) -> Flag:
    users = tuple(sorted({r.user for r in rows if r.user}))
    places = tuple((r.log, r.n) for r in rows)
    count = len(users) if rule == SHARED_PATIENT else len(rows)
    return Flag(rule, subject, day, count, threshold, users, places)
