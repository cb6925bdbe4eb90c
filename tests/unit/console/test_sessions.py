"""Sessions end by idling, by age and by number; forms need their token."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from appliance.console.sessions import Sessions, csrf_fits
from appliance.core.clock import FixedClock
from appliance.core.settings.console import ConsoleSettings

SETTINGS = ConsoleSettings(idle_minutes=15, session_hours=1, sessions_per_user=2)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 3, 1, tzinfo=UTC))


def test_a_cookie_finds_its_session_and_no_other_does(clock: FixedClock) -> None:
    sessions = Sessions(SETTINGS, clock)
    token, made = sessions.begin("ana", "reviewer")
    assert sessions.find(token) is made
    assert sessions.find(token[:-1]) is None
    assert sessions.find("") is None
    assert sessions.find(made.ident) is None


def test_idling_ends_a_session_and_use_keeps_it(clock: FixedClock) -> None:
    sessions = Sessions(SETTINGS, clock)
    token, _ = sessions.begin("ana", "reviewer")
    clock.advance(14 * 60)
    assert sessions.find(token)
    clock.advance(14 * 60)
    assert sessions.find(token)
    clock.advance(15 * 60 + 1)
    assert sessions.find(token) is None


def test_age_ends_a_session_however_busy(clock: FixedClock) -> None:
    sessions = Sessions(SETTINGS, clock)
    token, _ = sessions.begin("ana", "reviewer")
    for _ in range(6):
        clock.advance(10 * 60)
        assert sessions.find(token)
    clock.advance(1)
    assert sessions.find(token) is None


def test_the_oldest_session_gives_way(clock: FixedClock) -> None:
    sessions = Sessions(SETTINGS, clock)
    tokens = [sessions.begin("ana", "reviewer")[0] for _ in range(3)]
    assert [bool(sessions.find(t)) for t in tokens] == [False, True, True]


def test_ending_one_and_all(clock: FixedClock) -> None:
    sessions = Sessions(SETTINGS, clock)
    first, _ = sessions.begin("ana", "reviewer")
    second, _ = sessions.begin("ana", "reviewer")
    other, _ = sessions.begin("rui", "officer")
    sessions.end(first)
    assert sessions.find(first) is None
    assert sessions.end_all("ana") == 1
    assert sessions.find(second) is None
    assert sessions.find(other)


def test_only_the_sessions_own_token_fits(clock: FixedClock) -> None:
    sessions = Sessions(SETTINGS, clock)
    _, one = sessions.begin("ana", "reviewer")
    _, two = sessions.begin("rui", "officer")
    assert csrf_fits(one, one.csrf)
    assert not csrf_fits(one, two.csrf)
    assert not csrf_fits(one, "")
    assert not csrf_fits(one, None)
