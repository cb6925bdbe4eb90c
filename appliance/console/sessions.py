"""Server-side sessions: a cookie is a random number, everything else stays in this process.

A restart ends all sessions. Only the hash of a cookie is kept, so that a copy of the memory's
table does not give anybody a session.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from dataclasses import dataclass, field
from typing import Final

from appliance.core.clock import Clock
from appliance.core.settings.console import ConsoleSettings

TOKEN_BYTES: Final = 32


@dataclass
class Session:
    """Somebody's visit. ``ident`` names it in the log and says nothing about the cookie."""

    user: str
    role: str
    ident: str
    csrf: str
    began: float
    seen: float
    notices: list[tuple[str, str]] = field(default_factory=list)


class Sessions:
    """The open sessions of one console."""

    def __init__(self, settings: ConsoleSettings, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self._open: dict[str, Session] = {}
        self._lock = threading.Lock()

    def begin(self, user: str, role: str) -> tuple[str, Session]:
        """Open a session and return its cookie; the account's oldest ends when it has too many."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        now = self.clock.monotonic()
        session = Session(user, role, secrets.token_hex(8), secrets.token_urlsafe(24), now, now)
        with self._lock:
            own = [key for key, s in self._open.items() if s.user == user]
            for key in own[: max(0, len(own) - self.settings.sessions_per_user + 1)]:
                del self._open[key]
            self._open[_key(token)] = session
        return token, session

    def find(self, token: str | None) -> Session | None:
        """Return the session of a cookie; one that idled or lasted too long is gone."""
        if not token:
            return None
        now = self.clock.monotonic()
        with self._lock:
            session = self._open.get(_key(token))
            if session is None:
                return None
            idle = now - session.seen > self.settings.idle_minutes * 60
            if idle or now - session.began > self.settings.session_hours * 3600:
                del self._open[_key(token)]
                return None
            session.seen = now
            return session

    def end(self, token: str | None) -> None:
        """End a session."""
        if token:
            with self._lock:
                self._open.pop(_key(token), None)

    def end_all(self, user: str) -> int:
        """End every session of an account (disabled, role changed); return how many."""
        with self._lock:
            own = [key for key, s in self._open.items() if s.user == user]
            for key in own:
                del self._open[key]
        return len(own)


def _key(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def csrf_fits(session: Session, sent: str | None) -> bool:
    """Compare the token of a form with the session's, in constant time."""
    return sent is not None and secrets.compare_digest(session.csrf.encode(), sent.encode())
