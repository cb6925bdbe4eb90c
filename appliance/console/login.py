"""Logging in: password and second factor together, one answer for every failure."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from datetime import datetime

from appliance.console import credentials
from appliance.console.accounts import User, after_failure, after_success
from appliance.console.store import UserStore
from appliance.core.clock import Clock
from appliance.core.errors import ConsoleAccountError
from appliance.core.settings.console import ConsoleSettings


@dataclass(frozen=True)
class Verdict:
    """What became of an attempt; ``reason`` is for the log, never for the screen."""

    user: User | None
    reason: str = ""
    known: bool = False

    @property
    def ok(self) -> bool:
        """True when the person is in."""
        return self.user is not None


class Gate:
    """Decides attempts to log in, one at a time for each process (argon2 takes 64 MiB)."""

    def __init__(self, store: UserStore, settings: ConsoleSettings, clock: Clock) -> None:
        self.store = store
        self.settings = settings
        self.clock = clock
        self._lock = threading.Lock()
        self._recent: deque[float] = deque()

    def crowded(self) -> bool:
        """Count an attempt; True when there were too many in the last minute."""
        now = self.clock.monotonic()
        with self._lock:
            while self._recent and now - self._recent[0] > 60:  # noqa: PLR2004 - seconds of a minute
                self._recent.popleft()
            if len(self._recent) >= self.settings.logins_per_minute:
                return True
            self._recent.append(now)
            return False

    def attempt(self, name: str, password: str, code: str) -> Verdict:
        """Check an attempt and count it; a locked account is refused whatever is given."""
        now = self.clock.now()
        password = password[: self.settings.password_max_chars]
        with self._lock:
            user = self.store.get(name)
            fits = credentials.password_fits(user.password if user else None, password)
            if user is None:
                return Verdict(None, "unknown account")
            if user.disabled or not user.enrolled:
                return Verdict(None, "account not usable", known=True)
            if user.is_locked(now):
                return Verdict(None, "account locked", known=True)
            step = self._step(user, code, now) if fits else None
            with self.store.changing(name) as box:
                if step is None:
                    box[0] = after_failure(box[0], self.settings, now)
                    locked = box[0].is_locked(now)
                    word = "account locked now" if locked else "wrong password or code"
                    return Verdict(None, word, known=True)
                box[0] = after_success(box[0], step)
                return Verdict(box[0], known=True)

    def _step(self, user: User, code: str, now: datetime) -> int | None:
        assert user.totp is not None
        secret = self.store.sealer.open(user.name, user.totp)
        return credentials.accepted_step(secret, code.replace(" ", ""), now, user.totp_step)


def invited(user: User | None, code: str, now: datetime) -> User:
    """Return the account that an invitation opens; raises the same error for every failure."""
    good = (
        user is not None
        and not user.disabled
        and user.invitation is not None
        and user.invited_until is not None
        and now < datetime.fromisoformat(user.invited_until)
        and credentials.invitation_hash(code) == user.invitation
    )
    if not good or user is None:
        raise ConsoleAccountError(
            expected="an account and its invitation, used in time",
            found="no such invitation",
            remedy="Ask an administrator for a new invitation.",
        )
    return user


def enrol(  # noqa: PLR0913, PLR0917 - one parameter a field of the form
    store: UserStore,
    user: User,
    password: str,
    secret: str,
    code: str,
    settings: ConsoleSettings,
    now: datetime,
) -> User:
    """Give an invited account its password and second factor, proven by a first code."""
    credentials.check_password(password, user.name, settings)
    step = credentials.accepted_step(secret, code.replace(" ", ""), now, 0)
    if step is None:
        raise ConsoleAccountError(
            expected="the six digits that the app shows now",
            found="another code",
            remedy="Check the clock of the telephone and type the code it shows.",
        )
    made = replace(
        user,
        password=credentials.hash_password(password),
        totp=store.sealer.seal(user.name, secret),
        totp_step=step,
        invitation=None,
        invited_until=None,
        failures=0,
        locked_until=None,
    )
    store.put(made)
    return made
