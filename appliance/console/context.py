"""What a page works with: the console's parts, the visitor, the words of her language."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from appliance.audit.export.common import SUBTYPE_NAMES, TYPE_NAMES
from appliance.audit.recorder import Sink
from appliance.console import i18n, labels, messages
from appliance.console.accounts import ROLES, User, may, require
from appliance.console.journal import Scribe, scribe_for
from appliance.console.login import Gate
from appliance.console.reading import FlagBoard, item_of
from appliance.console.sessions import Session, Sessions, csrf_fits
from appliance.console.store import UserStore
from appliance.console.verification import Verifier
from appliance.core.clock import Clock
from appliance.core.errors import ConsoleForbiddenError
from appliance.core.home import Home
from appliance.core.settings import Settings

HERE: Final = Path(__file__).parent
LANGUAGE_COOKIE: Final = "language"
YEAR_S: Final = 31_536_000


class LoginNeededError(Exception):
    """Nobody is logged in: the page sends to the log-in."""


@dataclass
class Console:
    """Everything one console is made of."""

    home: Home
    settings: Settings
    sink: Sink
    clock: Clock
    store: UserStore
    sessions: Sessions
    gate: Gate
    verifier: Verifier
    secure: bool
    board: FlagBoard
    deciding: threading.Lock = field(default_factory=threading.Lock)
    environments: dict[str, Environment] = field(default_factory=dict)

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which times are shown."""
        return ZoneInfo(self.settings.console.timezone)

    @property
    def cookie(self) -> str:
        """The session cookie's name; with the prefix a browser insists on Secure (RFC 6265bis)."""
        return "__Host-session" if self.secure else "session"

    def environment(self, language: str) -> Environment:
        """Return the templates in a language."""
        if language not in self.environments:
            self.environments[language] = make_environment(language, self.zone)
        return self.environments[language]


DICOM: Final = {**TYPE_NAMES, **SUBTYPE_NAMES}  # in the words of the standard: English


def make_environment(language: str, zone: ZoneInfo) -> Environment:
    """Return the templates with the words and the times of a language."""
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        extensions=["jinja2.ext.i18n"],
        trim_blocks=True,
        lstrip_blocks=True,
    )
    words = i18n.translations(language)
    environment.install_gettext_translations(words, newstyle=True)  # type: ignore[attr-defined] # the i18n extension adds it

    def when(moment: str | datetime) -> str:
        made = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
        return i18n.show_time(made, language, zone)

    def label(table: str, code: Any) -> str:
        found = getattr(labels, table).get(code)
        return words.gettext(found) if found else str(code if code is not None else "")

    def day(text: str) -> str:
        return i18n.show_day(date.fromisoformat(text), language)

    environment.filters["said"] = lambda text: messages.said(str(text), words.gettext)
    environment.filters["problem"] = lambda it: messages.problem(it[0], it[1], it[2], words.gettext)
    environment.filters["when"] = when
    environment.filters["day"] = day
    environment.filters["number"] = lambda value: i18n.show_number(value, language)
    environment.globals.update(
        label=label,
        labels=labels,
        may=may,
        roles=ROLES,
        item_of=item_of,
        language=language,
        dicom=DICOM,
    )
    return environment


@dataclass
class Visit:
    """One request by somebody (or nobody yet)."""

    console: Console
    request: Request
    language: str
    session: Session | None
    user: User | None

    @property
    def ip(self) -> str | None:
        """The peer's address."""
        return self.request.client.host if self.request.client else None

    @property
    def scribe(self) -> Scribe:
        """Who writes to the log in this request."""
        s = self.session
        return scribe_for(
            self.console.sink,
            self.console.clock,
            s.user if s else None,
            role=s.role if s else None,
            session=s.ident if s else None,
            ip=self.ip if self.ip and set(self.ip) <= set("0123456789abcdefABCDEF:.%") else None,
        )

    def words(self, message: str) -> str:
        """Translate a message."""
        return i18n.translations(self.language).gettext(message)

    def notice(self, message: str, kind: str = "good") -> None:
        """Show a message on the next page."""
        assert self.session is not None
        self.session.notices.append((kind, message))

    def page(self, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """Render a page."""
        notices = self.session.notices[:] if self.session else []
        if self.session:
            self.session.notices.clear()
        body = (
            self.console.environment(self.language)
            .get_template(template)
            .render(
                visit=self,
                user=self.user,
                role=self.session.role if self.session else None,
                csrf=self.session.csrf if self.session else "",
                notices=notices,
                path=self.request.url.path,
                **values,
            )
        )
        return HTMLResponse(body, status)

    def go(self, path: str, **query: Any) -> Response:
        """Send the browser to another page (POST, redirect, GET)."""
        kept = {k: v for k, v in query.items() if v not in {None, ""}}
        return RedirectResponse(f"{path}?{urlencode(kept)}" if kept else path, 303)


def console_of(request: Request) -> Console:
    """Return the console that serves a request."""
    found: Console = request.app.state.console
    return found


def visit_of(request: Request) -> Visit:
    """Return the visit of a request; the account is read again, so that a change counts at once."""
    console = console_of(request)
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    language = i18n.pick_language(chosen, console.settings.console.language)
    token = request.cookies.get(console.cookie)
    session = console.sessions.find(token)
    user = console.store.get(session.user) if session else None
    if session and (user is None or user.disabled or user.role != session.role):
        console.sessions.end(token)
        session = user = None
    return Visit(console, request, language, session, user)


def allowed(permission: str) -> Callable[[Request], Visit]:
    """Return the dependency of a page that needs ``permission``; a refusal is logged."""

    def check(request: Request) -> Visit:
        visit = visit_of(request)
        if visit.session is None or visit.user is None:
            raise LoginNeededError
        try:
            require(visit.user.role, permission)
        except ConsoleForbiddenError:
            detail = {"needs": permission, "method": request.method}
            visit.scribe.event("console.forbidden", outcome="refused", detail=detail)
            raise
        return visit

    return check


def check_csrf(visit: Visit, sent: str) -> None:
    """Raise unless a form carries its session's token."""
    if visit.session is None or not csrf_fits(visit.session, sent):
        raise ConsoleForbiddenError(
            expected="the form of this session",
            found="another or none",
            remedy="Go back, load the page again and send the form once more.",
        )
