"""The accounts, in one durable file of the home; every change reads, changes and writes it whole.

The command line and a running console may change accounts at once: a lock file orders them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from appliance.console import credentials
from appliance.console.accounts import Role, User, check_name
from appliance.core.durable import os_errors, read_json, write_json
from appliance.core.errors import ConsoleAccountError, StateDamagedError
from appliance.core.home import Home
from appliance.core.settings.console import ConsoleSettings


def console_folder(home: Home) -> Path:
    """Return the console's own folder in the home."""
    return home.root / "console"


def exports_folder(home: Home) -> Path:
    """Return where evidence lies while it is handed over."""
    return console_folder(home) / "exports"


class UserStore:
    """The accounts of one home."""

    def __init__(self, home: Home) -> None:
        self.path = console_folder(home) / "users.json"
        self.sealer = credentials.Sealer(home)

    def all(self) -> dict[str, User]:
        """Return the accounts by name."""
        if not self.path.exists():
            return {}
        try:
            return {v["name"]: User.from_dict(v) for v in read_json(self.path)["users"]}
        except (KeyError, TypeError) as error:
            raise StateDamagedError(expected="accounts", found=type(error).__name__) from error

    def get(self, name: str) -> User | None:
        """Return one account."""
        return self.all().get(name)

    def put(self, user: User) -> None:
        """Replace one account."""
        with self._locked():
            self._write({**self.all(), user.name: user})

    @contextlib.contextmanager
    def changing(self, name: str) -> Iterator[list[User]]:
        """Yield the account in a list; what stands in it when the block ends is stored."""
        with self._locked():
            users = self.all()
            if name not in users:
                raise ConsoleAccountError(expected="an account of that name", found="none")
            box = [users[name]]
            yield box
            if box[0] != users[name]:
                self._write({**users, name: box[0]})

    def add(self, user: User) -> User:
        """Add an account; raises :class:`ConsoleAccountError` when the name is taken.

        Names and aliases of two accounts may not overlap, else one person's two accounts could
        be told apart as two persons, or the other way round.
        """
        check_name(user.name)
        with self._locked():
            users = self.all()
            for other in users.values():
                if other.names() & user.names():
                    raise ConsoleAccountError(
                        expected="names that no other account has",
                        found=f"shared with {other.name}",
                    )
            self._write({**users, user.name: user})
        return user

    def _write(self, users: dict[str, User]) -> None:
        ordered = [users[name].to_dict() for name in sorted(users)]
        write_json(self.path, {"users": ordered}, mode=0o600)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        lock = self.path.with_name("users.lock")
        with os_errors(lock):
            lock.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)  # held for milliseconds
            yield
        finally:
            os.close(fd)


def invite(
    store: UserStore, user: User, settings: ConsoleSettings, now: datetime, *, by: str
) -> tuple[User, str]:
    """Add an account that its person enrols with the returned code."""
    code, kept = credentials.new_invitation()
    until = now + timedelta(hours=settings.invitation_hours)
    made = replace(
        user,
        invitation=kept,
        invited_until=until.isoformat(),
        created=now.isoformat(),
        created_by=by,
    )
    return store.add(made), code


def add_enrolled(  # noqa: PLR0913, PLR0917 - who, with what, by whom, under which rules
    store: UserStore,
    name: str,
    role: Role,
    password: str,
    settings: ConsoleSettings,
    now: datetime,
    *,
    aliases: tuple[str, ...] = (),
    by: str,
) -> tuple[User, str]:
    """Add an account that can log in at once; return it and its TOTP secret."""
    check_name(name)
    credentials.check_password(password, name, settings)
    secret = credentials.new_totp()
    user = User(
        name=name,
        role=role,
        aliases=aliases,
        password=credentials.hash_password(password),
        totp=store.sealer.seal(name, secret),
        created=now.isoformat(),
        created_by=by,
    )
    return store.add(user), secret
