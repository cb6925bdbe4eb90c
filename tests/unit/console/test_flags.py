"""What raises a flag, and what does not."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from appliance.console.flags import find_flags
from appliance.core.settings.console import ConsoleSettings

ZONE = ZoneInfo("America/Sao_Paulo")
SETTINGS = ConsoleSettings(volume_per_day=4, refused_per_day=2, patient_users=3)


@dataclass(frozen=True)
class Access:
    at: str = "2026-03-02T15:00:00.000000Z"  # noon in São Paulo
    user: str | None = "medico1"
    patient: str | None = None
    outcome: str | None = "success"
    phase: str = "outcome"
    action: str = "gateway.chat"
    log: int = 1
    n: int = 0


def rules(*rows: Access) -> list[tuple[str, str, int]]:
    return [(f.rule, f.subject, f.count) for f in find_flags(rows, SETTINGS, ZONE)]


def test_usual_work_raises_nothing() -> None:
    assert rules(Access(), Access(n=1), Access(n=2)) == []


def test_hours_are_those_of_the_hospital_not_of_the_log() -> None:
    assert rules(Access(at="2026-03-02T09:00:00.000000Z")) == []  # six in the morning
    assert rules(Access(at="2026-03-02T08:59:59.000000Z")) == [("unusual_hour", "medico1", 1)]
    assert rules(Access(at="2026-03-03T01:00:00.000000Z")) == [("unusual_hour", "medico1", 1)]


def test_the_day_is_the_local_one() -> None:
    found = find_flags([Access(at="2026-03-03T01:30:00.000000Z")], SETTINGS, ZONE)
    assert found[0].day == "2026-03-02"


def test_many_accesses_of_one_user_in_a_day() -> None:
    assert rules(*(Access(n=n) for n in range(4))) == [("volume", "medico1", 4)]
    spread = [Access(n=n, user=f"medico{n}") for n in range(4)]
    assert rules(*spread) == []


def test_refused_requests() -> None:
    assert rules(Access(outcome="refused")) == []
    assert rules(Access(outcome="refused"), Access(outcome="refused", n=1)) == [
        ("refused", "medico1", 2)
    ]


def test_one_patient_and_many_users() -> None:
    same = [Access(user=f"medico{n}", patient="p1-x", n=n) for n in range(3)]
    assert rules(*same) == [("shared_patient", "p1-x", 3)]
    assert rules(*(Access(user="medico1", patient="p1-x", n=n) for n in range(3))) == []


def test_intents_and_the_console_itself_do_not_count() -> None:
    late = "2026-03-02T05:00:00.000000Z"
    assert rules(Access(at=late, phase="intent"), Access(at=late, action="console.login")) == []


def test_a_flag_stays_the_same_item_while_the_day_goes_on() -> None:
    first = find_flags([Access(outcome="refused", n=n) for n in range(2)], SETTINGS, ZONE)
    later = find_flags([Access(outcome="refused", n=n) for n in range(3)], SETTINGS, ZONE)
    assert first[0].id == later[0].id
    assert later[0].entries == ((1, 0), (1, 1), (1, 2))


def test_flags_of_other_days_and_subjects_are_other_items() -> None:
    rows = [
        Access(at=f"2026-03-0{day}T04:00:00.000000Z", user=user)
        for day in (2, 3)
        for user in ("a", "b")
    ]
    assert len({f.id for f in find_flags(rows, SETTINGS, ZONE)}) == 4
