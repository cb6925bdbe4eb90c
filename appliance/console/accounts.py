"""People and what they may do: pure rules over values.

Roles are apart on purpose (SBIS NGS1.07.02, four eyes): who administers accounts reads and reviews
nothing, who determines does not sign off, who only audits changes nothing.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from appliance.core.errors import ConsoleAccountError, ConsoleForbiddenError
from appliance.core.settings.console import ConsoleSettings

Role = Literal["auditor", "reviewer", "officer", "administrator"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)

PERMISSIONS: Final[dict[str, frozenset[str]]] = {
    "auditor": frozenset({"read", "verify"}),
    "reviewer": frozenset({"read", "verify", "review", "sample"}),
    "officer": frozenset({"read", "verify", "sign_off", "sample", "export", "witness"}),
    "administrator": frozenset({"users"}),
}
_NAME = re.compile(r"[a-z][a-z0-9._-]{1,31}\Z")


@dataclass(frozen=True)
class User:
    """One account as it is stored. ``aliases`` are the person's other names in the log."""

    name: str
    role: Role
    aliases: tuple[str, ...] = ()
    password: str | None = None  # argon2id, in its own encoded form
    totp: str | None = None  # sealed secret, base64
    totp_step: int = 0  # the last time step that was accepted: a code is good once
    invitation: str | None = None  # SHA-256 of the invitation code
    invited_until: str | None = None
    failures: int = 0
    locked_until: str | None = None
    disabled: bool = False
    created: str = ""
    created_by: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the stored form."""
        value = asdict(self)
        value["aliases"] = list(self.aliases)
        return value

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> User:
        """Read the stored form."""
        return cls(**{**value, "aliases": tuple(value.get("aliases", ()))})

    @property
    def enrolled(self) -> bool:
        """True when the person has a password and a second factor."""
        return self.password is not None and self.totp is not None

    def is_locked(self, now: datetime) -> bool:
        """Say whether the account waits after failed attempts."""
        return self.locked_until is not None and now < datetime.fromisoformat(self.locked_until)

    def names(self) -> frozenset[str]:
        """Return every name under which the person stands in the log, case folded."""
        return frozenset(n.casefold() for n in (self.name, *self.aliases))


def may(role: str, permission: str) -> bool:
    """Say whether a role has a permission."""
    return permission in PERMISSIONS.get(role, frozenset())


def require(role: str, permission: str) -> None:
    """Raise :class:`ConsoleForbiddenError` unless ``role`` has ``permission``."""
    if not may(role, permission):
        wanted = ", ".join(r for r in ROLES if may(r, permission))
        raise ConsoleForbiddenError(expected=f"the role {wanted}", found=f"the role {role}")


def check_name(name: str) -> str:
    """Return an account name or raise :class:`ConsoleAccountError`."""
    if not _NAME.match(name):
        raise ConsoleAccountError(
            expected="a name of 2 to 32 small letters, digits, '.', '-' or '_'",
            found="another form",
        )
    return name


def check_role(role: str) -> Role:
    """Return a role or raise :class:`ConsoleAccountError`."""
    for known in ROLES:
        if role == known:
            return known
    raise ConsoleAccountError(expected=f"one of {', '.join(ROLES)}", found="another role")


def parse_aliases(text: str) -> tuple[str, ...]:
    """Read other names in the log, separated by commas or spaces."""
    found = tuple(dict.fromkeys(re.split(r"[,\s]+", text.strip()))) if text.strip() else ()
    if any(len(alias) > 128 or not alias.isprintable() for alias in found) or len(found) > 8:  # noqa: PLR2004 - the length of a user name in the log
        raise ConsoleAccountError(
            expected="at most 8 names of at most 128 characters", found="others"
        )
    return found


def after_failure(user: User, settings: ConsoleSettings, now: datetime) -> User:
    """Return the account after a failed log-in; enough of them lock it for a while."""
    failures = user.failures + 1
    if failures < settings.lockout_failures:
        return replace(user, failures=failures)
    until = now + timedelta(minutes=settings.lockout_minutes)
    return replace(user, failures=0, locked_until=until.isoformat())


def after_success(user: User, step: int) -> User:
    """Return the account after a log-in with the code of time step ``step``."""
    return replace(user, failures=0, locked_until=None, totp_step=step)
