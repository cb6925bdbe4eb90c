"""Accounts under concurrent changes; flags of days that are over."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import cast
from zoneinfo import ZoneInfo

import pytest

from appliance.console.accounts import User
from appliance.console.reading import DayFlags, FlagBoard, LogReader, item_of, place_of_item
from appliance.console.store import UserStore
from appliance.core.errors import ConsoleAccountError, InputMissingError, StateDamagedError
from appliance.core.home import Home
from appliance.core.settings.console import ConsoleSettings

ZONE = ZoneInfo("America/Sao_Paulo")


def test_changes_at_once_lose_nothing(home: Home) -> None:
    UserStore(home).add(User("ana", "reviewer"))

    def count() -> None:
        for _ in range(20):
            with UserStore(home).changing("ana") as box:
                box[0] = replace(box[0], failures=box[0].failures + 1)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    user = UserStore(home).get("ana")
    assert user is not None
    assert user.failures == 80


def test_a_change_that_fails_changes_nothing(home: Home) -> None:
    store = UserStore(home)
    store.add(User("ana", "reviewer"))
    with pytest.raises(ConsoleAccountError), store.changing("ana") as box:
        box[0] = replace(box[0], role="officer")
        raise ConsoleAccountError(expected="this", found="that")
    assert store.get("ana") == User("ana", "reviewer")


def test_a_damaged_file_is_an_error_and_not_an_empty_console(home: Home) -> None:
    store = UserStore(home)
    store.add(User("ana", "reviewer"))
    for damage in (b"{", b'{"users": [{"name": "ana"}]}', b"[]"):
        store.path.write_bytes(damage)
        with pytest.raises(StateDamagedError):
            store.all()


class CountingLog:
    """Counts how often the flags of a day are worked out."""

    def __init__(self) -> None:
        self.asked: list[date] = []

    def flags(self, day: date, _: object) -> DayFlags:
        self.asked.append(day)
        return DayFlags(cut=day.day == 3)


def test_days_that_are_over_are_worked_out_once() -> None:
    log, board = CountingLog(), FlagBoard(ConsoleSettings(flag_days=3), ZONE)
    noon = datetime(2026, 3, 5, 15, tzinfo=UTC)
    for _ in range(3):
        found = board.recent(cast("LogReader", log), noon)
    assert found.cut
    assert log.asked.count(date(2026, 3, 5)) == 3
    assert log.asked.count(date(2026, 3, 4)) == 1
    assert log.asked.count(date(2026, 3, 3)) == 1


def test_yesterday_is_not_kept_before_its_last_entries_are_signed() -> None:
    log, board = CountingLog(), FlagBoard(ConsoleSettings(flag_days=2), ZONE)
    just_after_midnight = datetime(2026, 3, 5, 3, 30, tzinfo=UTC)
    for _ in range(2):
        board.recent(cast("LogReader", log), just_after_midnight)
    assert log.asked.count(date(2026, 3, 4)) == 2


def test_items_name_places_and_nothing_else_does() -> None:
    assert place_of_item(item_of(3, 42)) == (3, 42)
    for text in ("", "e1", "e0n1", "e1n01", "e1n1 ", "e1n-1", "x1n1", "e1n1\n"):
        with pytest.raises(InputMissingError):
            place_of_item(text)
