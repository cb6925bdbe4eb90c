"""Passwords, second factors, invitations and what an attacker tries with them."""

from __future__ import annotations

from datetime import UTC, datetime

import pyotp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.console import credentials
from appliance.console.accounts import User
from appliance.console.login import Gate, enrol, invited
from appliance.console.store import UserStore, add_enrolled, invite
from appliance.core.clock import FixedClock
from appliance.core.errors import ConsoleAccountError, StateDamagedError
from appliance.core.home import Home
from appliance.core.settings.console import ConsoleSettings

PASSWORD = "um lago azul ao norte"
SETTINGS = ConsoleSettings(lockout_failures=3)


class Scene:
    """A store with one account and a gate before it."""

    def __init__(self, home: Home) -> None:
        self.clock = FixedClock(datetime(2026, 3, 1, 12, tzinfo=UTC))
        self.store = UserStore(home)
        self.gate = Gate(self.store, SETTINGS, self.clock)
        now = self.clock.now()
        _, self.secret = add_enrolled(
            self.store, "ana", "reviewer", PASSWORD, SETTINGS, now, by="test"
        )

    def code(self, steps: int = 0) -> str:
        at = int(self.clock.now().timestamp()) // credentials.STEP_S + steps
        return pyotp.TOTP(self.secret).generate_otp(at)


@pytest.fixture
def scene(home: Home) -> Scene:
    return Scene(home)


def test_password_and_code_let_in(scene: Scene) -> None:
    verdict = scene.gate.attempt("ana", PASSWORD, scene.code())
    assert verdict.ok


def test_a_code_is_good_once(scene: Scene) -> None:
    code = scene.code()
    assert scene.gate.attempt("ana", PASSWORD, code).ok
    replay = scene.gate.attempt("ana", PASSWORD, code)
    assert not replay.ok
    assert replay.reason == "wrong password or code"
    scene.clock.advance(30)
    assert scene.gate.attempt("ana", PASSWORD, scene.code()).ok


def test_an_older_code_is_refused_after_a_newer_one(scene: Scene) -> None:
    assert scene.gate.attempt("ana", PASSWORD, scene.code()).ok
    assert not scene.gate.attempt("ana", PASSWORD, scene.code(-1)).ok


def test_one_step_of_drift_is_allowed_and_not_two(scene: Scene) -> None:
    assert not scene.gate.attempt("ana", PASSWORD, scene.code(-2)).ok
    assert scene.gate.attempt("ana", PASSWORD, scene.code(-1)).ok
    assert not scene.gate.attempt("ana", PASSWORD, scene.code(2)).ok
    assert scene.gate.attempt("ana", PASSWORD, scene.code(1)).ok


@pytest.mark.parametrize(
    "code",
    ["", "12345", "1234567", "abcdef", "-12345", "\uff11\uff12\uff13\uff14\uff15\uff16"],
)
def test_codes_of_another_form_are_refused(scene: Scene, code: str) -> None:
    assert not scene.gate.attempt("ana", PASSWORD, code).ok


def test_after_failures_even_the_right_password_waits(scene: Scene) -> None:
    for _ in range(3):
        assert not scene.gate.attempt("ana", "guess guess guess", scene.code()).ok
    locked = scene.gate.attempt("ana", PASSWORD, scene.code())
    assert (locked.ok, locked.reason) == (False, "account locked")
    scene.clock.advance(SETTINGS.lockout_minutes * 60 + 1)
    assert scene.gate.attempt("ana", PASSWORD, scene.code()).ok


def test_a_restart_does_not_forget_the_lock(scene: Scene, home: Home) -> None:
    for _ in range(3):
        scene.gate.attempt("ana", "guess guess guess", scene.code())
    fresh = Gate(UserStore(home), SETTINGS, scene.clock)
    assert fresh.attempt("ana", PASSWORD, scene.code()).reason == "account locked"


def test_an_unknown_name_is_not_told_apart_on_screen(scene: Scene) -> None:
    verdict = scene.gate.attempt("nobody", PASSWORD, "000000")
    assert (verdict.ok, verdict.known) == (False, False)


def test_too_many_attempts_in_a_minute_are_counted_over_all_accounts(scene: Scene) -> None:
    taken = [scene.gate.crowded() for _ in range(SETTINGS.logins_per_minute + 1)]
    assert taken == [False] * SETTINGS.logins_per_minute + [True]
    scene.clock.advance(61)
    assert not scene.gate.crowded()


def test_neither_password_nor_secret_stands_in_the_file(scene: Scene) -> None:
    text = scene.store.path.read_text()
    assert PASSWORD not in text
    assert scene.secret not in text
    assert "$argon2id$" in text
    assert scene.store.path.stat().st_mode & 0o077 == 0


def test_a_sealed_secret_belongs_to_its_account(scene: Scene) -> None:
    user = scene.store.get("ana")
    assert user is not None
    assert user.totp is not None
    with pytest.raises(StateDamagedError):
        scene.store.sealer.open("eve", user.totp)


def test_the_same_name_or_alias_twice_is_refused(scene: Scene) -> None:
    with pytest.raises(ConsoleAccountError):
        scene.store.add(User("ana", "officer"))
    with pytest.raises(ConsoleAccountError):
        scene.store.add(User("other", "officer", ("ANA",)))


@pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaaa", "ana ana ana ana b"])
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(ConsoleAccountError):
        credentials.check_password(password, "ana", SETTINGS)


def test_an_invitation_enrols_once(scene: Scene) -> None:
    now = scene.clock.now()
    user, code = invite(scene.store, User("rui", "officer"), SETTINGS, now, by="admin")
    assert not scene.gate.attempt("rui", PASSWORD, "000000").ok
    secret = credentials.new_totp()
    totp = pyotp.TOTP(secret).at(now)
    enrol(scene.store, invited(user, code, now), PASSWORD, secret, totp, SETTINGS, now)
    with pytest.raises(ConsoleAccountError):
        invited(scene.store.get("rui"), code, now)
    assert not scene.gate.attempt("rui", PASSWORD, totp).ok  # the enrolment's code is spent


def test_an_invitation_runs_out(scene: Scene) -> None:
    user, code = invite(scene.store, User("rui", "officer"), SETTINGS, scene.clock.now(), by="a")
    scene.clock.advance(SETTINGS.invitation_hours * 3600)
    with pytest.raises(ConsoleAccountError):
        invited(user, code, scene.clock.now())


@given(st.text(max_size=64))
def test_no_other_text_opens_an_invitation(text: str) -> None:
    code, kept = credentials.new_invitation()
    assert credentials.invitation_hash(code) == kept
    assert credentials.invitation_hash(text) != kept
