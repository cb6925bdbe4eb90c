"""Log in, log out, enrol with an invitation, choose the language."""

from __future__ import annotations

import secrets
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import Response

from appliance.console import credentials
from appliance.console.accounts import may
from appliance.console.context import (
    LANGUAGE_COOKIE,
    YEAR_S,
    Visit,
    check_csrf,
    visit_of,
)
from appliance.console.i18n import LANGUAGES
from appliance.console.login import enrol, invited
from appliance.core.errors import ConsoleAccountError, ConsoleForbiddenError

router = APIRouter()
PRE: Final = "pre"  # double-submit token of the forms before there is a session
Field = Annotated[str, Form(max_length=512)]
Visitor = Annotated[Visit, Depends(visit_of)]


def _pre_form(visit: Visit, template: str, status: int = 200, **values: object) -> Response:
    token = visit.request.cookies.get(PRE) or secrets.token_urlsafe(24)
    answer = visit.page(template, status=status, pre=token, **values)
    answer.set_cookie(
        PRE, token, max_age=3600, httponly=True, secure=visit.console.secure, samesite="strict"
    )
    return answer


def _check_pre(request: Request, sent: str) -> None:
    kept = request.cookies.get(PRE)
    if not kept or not secrets.compare_digest(kept.encode(), sent.encode()):
        raise ConsoleForbiddenError(
            expected="the form of this session",
            found="another or none",
            remedy="Go back, load the page again and send the form once more.",
        )


@router.get("/login")
def login_form(visit: Visitor) -> Response:
    """Show the form; who is in already goes on."""
    if visit.session is not None:
        return visit.go("/")
    return _pre_form(visit, "login.html", failed=None, name="")


@router.post("/login")
def login(visit: Visitor, name: Field, password: Field, code: Field, pre: Field) -> Response:
    """Let somebody in; every attempt is in the log, a failure without saying to her which part."""
    _check_pre(visit.request, pre)
    console = visit.console
    name = name.strip().casefold()
    if console.gate.crowded():
        return _pre_form(visit, "login.html", 429, failed="crowded", name=name)
    verdict = console.gate.attempt(name, password, code)
    if verdict.user is None:
        # An unknown name may be a password typed into the wrong field: it is not logged.
        known = name if verdict.known else None
        visit.scribe.event("console.login", outcome="refused", reason=verdict.reason, user=known)
        return _pre_form(visit, "login.html", 401, failed="wrong", name=name)
    token, session = console.sessions.begin(verdict.user.name, verdict.user.role)
    visit.session = session
    try:
        visit.scribe.event("console.login")
    except BaseException:
        console.sessions.end(token)
        raise
    answer = visit.go("/" if may(session.role, "read") else "/users")
    answer.set_cookie(
        console.cookie, token, httponly=True, secure=console.secure, samesite="strict", path="/"
    )
    answer.delete_cookie(PRE)
    return answer


@router.post("/logout")
def logout(visit: Visitor, csrf: Field) -> Response:
    """End the session."""
    if visit.session is not None:
        check_csrf(visit, csrf)
        visit.scribe.event("console.logout")
        visit.console.sessions.end(visit.request.cookies.get(visit.console.cookie))
    answer = visit.go("/login")
    answer.delete_cookie(visit.console.cookie, secure=visit.console.secure, httponly=True)
    return answer


@router.post("/language")
def choose_language(visit: Visitor, language: Field, back: Field = "/") -> Response:
    """Keep the language in a cookie and go back to the page."""
    safe = back if back.startswith("/") and not back.startswith(("//", "/\\")) else "/"
    answer = visit.go(safe)
    if language in LANGUAGES:
        answer.set_cookie(
            LANGUAGE_COOKIE,
            language,
            max_age=YEAR_S,
            httponly=True,
            secure=visit.console.secure,
            samesite="strict",
        )
    return answer


@router.get("/enrol")
def enrol_form(visit: Visitor) -> Response:
    """Ask for the invitation."""
    return _pre_form(visit, "enrol.html", error=None, name="", secret=None)


@router.post("/enrol")
def enrol_begin(visit: Visitor, name: Field, invitation: Field, pre: Field) -> Response:
    """Show the QR code of a new second factor to whoever holds the invitation."""
    _check_pre(visit.request, pre)
    name = name.strip().casefold()
    if visit.console.gate.crowded():
        error = ConsoleAccountError(expected="fewer attempts in a minute", found="more")
        return _pre_form(visit, "enrol.html", 429, error=error, name=name, secret=None)
    try:
        user = invited(visit.console.store.get(name), invitation, visit.console.clock.now())
    except ConsoleAccountError as refusal:
        visit.scribe.event("console.enrol", outcome="refused", reason="no such invitation")
        return _pre_form(visit, "enrol.html", 400, error=refusal, name=name, secret=None)
    return _second_page(visit, user.name, invitation, credentials.new_totp(), None)


@router.post("/enrol/finish")
def enrol_finish(  # noqa: PLR0913, PLR0917 - one parameter a field of the form
    visit: Visitor,
    name: Field,
    invitation: Field,
    secret: Field,
    password: Field,
    code: Field,
    pre: Field,
) -> Response:
    """Take password and first code; from then on the invitation is spent."""
    _check_pre(visit.request, pre)
    console = visit.console
    user = invited(console.store.get(name), invitation, console.clock.now())
    try:
        with visit.scribe.action("console.enrol", user=user.name, role=user.role):
            enrol(
                console.store,
                user,
                password,
                secret,
                code,
                console.settings.console,
                console.clock.now(),
            )
    except ConsoleAccountError as error:
        return _second_page(visit, name, invitation, secret, error)
    return _pre_form(visit, "login.html", failed="enrolled", name=name)


def _second_page(
    visit: Visit, name: str, invitation: str, secret: str, error: ConsoleAccountError | None
) -> Response:
    svg = credentials.totp_svg(credentials.totp_uri(secret, name))
    return _pre_form(
        visit,
        "enrol.html",
        400 if error else 200,
        error=error,
        name=name,
        invitation=invitation,
        secret=secret,
        svg=svg,
    )
