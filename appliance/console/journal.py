"""What the console writes to the log: everything people read, decide, export or are refused.

An event is durable before its page is answered; without the log there is no page (fail-closed).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from appliance.audit import codes
from appliance.audit.codes import Codes
from appliance.audit.event import Outcome
from appliance.audit.guard import Scalar
from appliance.audit.recorder import Action, Receipt, Recorder, Sink
from appliance.core.clock import Clock

COMPONENT: Final = "console"

_READ = Codes(codes.AUDIT_LOG_USED, (), "R")
_DECIDE = Codes(codes.AUDIT_LOG_USED, (), "C")
_USERS = Codes(codes.SECURITY_ALERT, (codes.USERS_CHANGED,), "U")
_ENTRY = Codes(codes.USER_AUTHENTICATION, (), "E")

# The first matching beginning counts.
TABLE: Final[tuple[tuple[str, Codes], ...]] = (
    ("console.login", Codes(codes.USER_AUTHENTICATION, (codes.LOGIN,), "E")),
    ("console.logout", Codes(codes.USER_AUTHENTICATION, (codes.LOGOUT,), "E")),
    ("console.enrol", _ENTRY),
    ("console.forbidden", Codes(codes.SECURITY_ALERT, (), "E")),
    ("console.user", _USERS),
    ("console.export", Codes(codes.EXPORT, (), "R")),
    ("console.download", Codes(codes.EXPORT, (), "R")),
    ("console.review", _DECIDE),
    ("console.sign_off", _DECIDE),
    ("console.sample", _DECIDE),
    ("console.witness_import", _DECIDE),
    ("console.", _READ),
)


def console_codes(action: str) -> Codes:
    """Return the DICOM codes of one of the console's actions."""
    return next(found for start, found in TABLE if action.startswith(start))


@dataclass(frozen=True)
class Scribe:
    """Writes in the name of one person in one session."""

    recorder: Recorder
    user: str | None
    role: str | None = None
    session: str | None = None
    ip: str | None = None

    def event(
        self,
        action: str,
        *,
        outcome: Outcome = "success",
        detail: Mapping[str, Scalar] | None = None,
        **fields: Any,
    ) -> Receipt:
        """Write one event; it is durable when this returns."""
        return self.recorder.event(
            action, outcome=outcome, detail=detail, **{**self._who(action), **fields}
        )

    @contextlib.contextmanager
    def action(
        self, action: str, *, detail: Mapping[str, Scalar] | None = None, **fields: Any
    ) -> Iterator[Action]:
        """Write an intent, run the block, write its outcome."""
        fields = {**self._who(action), **fields}
        with self.recorder.action(action, detail=detail, **fields) as act:
            yield act

    def _who(self, action: str) -> dict[str, Any]:
        found = console_codes(action)
        return {
            "user": self.user,
            "role": self.role,
            "session": self.session,
            "ip": self.ip,
            "type": found.type,
            "subtype": found.subtype,
            "crude": found.crude,
        }


def scribe_for(  # noqa: PLR0913 - who, in which role and session, from where
    sink: Sink,
    clock: Clock,
    user: str | None,
    *,
    role: str | None = None,
    session: str | None = None,
    ip: str | None = None,
) -> Scribe:
    """Return the scribe of a person."""
    return Scribe(Recorder(sink, COMPONENT, user=user, clock=clock), user, role, session, ip)
