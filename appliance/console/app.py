"""The console as an ASGI application."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from zoneinfo import ZoneInfo

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from appliance.audit.recorder import Sink
from appliance.console.context import HERE, Console, LoginNeededError, visit_of
from appliance.console.guardian import Guardian
from appliance.console.login import Gate
from appliance.console.pages import (
    accounts,
    entry,
    events,
    evidence,
    metrics,
    overview,
    queues,
    samples,
    users,
    witness,
)
from appliance.console.reading import FlagBoard
from appliance.console.sessions import Sessions
from appliance.console.store import UserStore
from appliance.console.verification import Run, Verifier, run_process
from appliance.core.clock import Clock, SystemClock
from appliance.core.errors import ApplianceError, AuditUnavailableError, ConsoleInputError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.core.settings.console import LOOPBACK


def make_console(  # noqa: PLR0913 - what a console is made of; tests pass twins
    home: Home,
    settings: Settings,
    sink: Sink,
    *,
    clock: Clock | None = None,
    secure: bool = False,
    run: Run | None = None,
) -> Console:
    """Put a console together. Raises nothing; the log is asked when a page is."""
    own, ticking = settings.console, clock or SystemClock()
    store = UserStore(home)
    runner = run or (lambda: run_process(home, own.verify_timeout_s))
    return Console(
        home=home,
        settings=settings,
        sink=sink,
        clock=ticking,
        store=store,
        sessions=Sessions(own, ticking),
        gate=Gate(store, own, ticking),
        verifier=Verifier(home, ticking, runner),
        secure=secure,
        board=FlagBoard(own, ZoneInfo(own.timezone)),
    )


def create_app(console: Console, *, hosts: tuple[str, ...] = ()) -> FastAPI:
    """Return the application; ``hosts`` are names accepted besides loopback."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.console = console
    for part in (
        accounts,
        overview,
        events,
        entry,
        queues,
        samples,
        evidence,
        witness,
        users,
        metrics,
    ):
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    app.add_exception_handler(LoginNeededError, _to_login)
    app.add_exception_handler(ApplianceError, _refused)
    app.add_exception_handler(RequestValidationError, _bad_form)
    app.add_exception_handler(HTTPException, _not_found)
    app.add_exception_handler(Exception, _broken)
    own = console.settings.console
    names = [*LOOPBACK, "[::1]", own.host, *own.allowed_hosts, *hosts]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=names, www_redirect=False)
    app.add_middleware(Guardian, max_body_bytes=own.max_body_bytes, secure=console.secure)
    return app


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _to_login(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"HX-Redirect": "/login"})
    return RedirectResponse("/login", 303)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApplianceError)
    status = error.http_status
    headline = error.headline()
    if isinstance(error, AuditUnavailableError):
        status, headline = 503, "The audit log cannot be written, so nothing is shown."
    elif error.id == "input-missing":
        status, headline = 404, "The page or entry is not there."
    return visit_of(request).page(
        "error.html", status=status, error=error, headline=headline, code=status
    )


async def _bad_form(request: Request, error: Exception) -> Response:  # noqa: ARG001 - its text repeats the input
    return await _refused(
        request, ConsoleInputError(expected="the fields of the form", found="others or none")
    )


async def _not_found(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return visit_of(request).page(
        "error.html",
        status=error.status_code,
        error=None,
        headline="The page or entry is not there.",
        code=error.status_code,
    )


async def _broken(request: Request, error: Exception) -> Response:
    # Only its class goes anywhere: the text of an unforeseen error may hold what was typed.
    with contextlib.suppress(ApplianceError):
        visit_of(request).scribe.event(
            "console.error", outcome="failure", reason=type(error).__name__[:64]
        )
    unknown = ApplianceError(expected="no unforeseen error", found=type(error).__name__)
    return visit_of(request).page(
        "error.html", status=500, error=unknown, headline=unknown.headline(), code=500
    )
