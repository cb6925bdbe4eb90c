"""Roles, names and lock-out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from appliance.console.accounts import (
    PERMISSIONS,
    ROLES,
    User,
    after_failure,
    after_success,
    check_name,
    check_role,
    may,
    parse_aliases,
    require,
)
from appliance.core.errors import ConsoleAccountError, ConsoleForbiddenError
from appliance.core.settings.console import ConsoleSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_administrator_only_manages_accounts() -> None:
    assert PERMISSIONS["administrator"] == {"users"}
    assert [role for role in ROLES if may(role, "users")] == ["administrator"]


def test_nobody_both_determines_and_signs_off() -> None:
    assert not any(may(role, "review") and may(role, "sign_off") for role in ROLES)


def test_the_auditor_changes_nothing() -> None:
    assert PERMISSIONS["auditor"] == {"read", "verify"}


@pytest.mark.parametrize("role", ["auditor", "reviewer", "administrator", "nobody"])
def test_only_the_officer_exports(role: str) -> None:
    with pytest.raises(ConsoleForbiddenError) as refusal:
        require(role, "export")
    assert refusal.value.expected == "the role officer"


def test_failures_in_a_row_lock_the_account_for_a_while() -> None:
    settings = ConsoleSettings(lockout_failures=3, lockout_minutes=10)
    user = User("ana.souza", "reviewer")
    for _ in range(2):
        user = after_failure(user, settings, NOW)
    assert not user.is_locked(NOW)
    user = after_failure(user, settings, NOW)
    assert user.is_locked(NOW + timedelta(minutes=9))
    assert not user.is_locked(NOW + timedelta(minutes=10))


def test_success_forgets_the_failures_and_remembers_the_step() -> None:
    user = after_failure(User("ana.souza", "reviewer"), ConsoleSettings(), NOW)
    user = after_success(user, 77)
    assert (user.failures, user.locked_until, user.totp_step) == (0, None, 77)


@pytest.mark.parametrize("name", ["", "a", "Ana", "ana souza", "1ana", "a" * 33, "ana\n", "ána"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(ConsoleAccountError):
        check_name(name)


def test_names_under_which_a_person_is_known_are_case_folded() -> None:
    assert User("ana", "reviewer", ("ASouza", "12345")).names() == {"ana", "asouza", "12345"}


def test_aliases_are_read_from_a_field() -> None:
    assert parse_aliases(" asouza, 12345  asouza ") == ("asouza", "12345")
    assert parse_aliases("  ") == ()
    with pytest.raises(ConsoleAccountError):
        parse_aliases(" ".join(f"n{i}" for i in range(9)))


def test_an_unknown_role_is_refused() -> None:
    assert check_role("officer") == "officer"
    with pytest.raises(ConsoleAccountError):
        check_role("root")


def test_an_account_survives_its_file_form() -> None:
    user = User("ana", "officer", ("x",), password="p", totp="t", totp_step=5)
    assert User.from_dict(user.to_dict()) == user
