"""Accounts: administrators invite people, change roles and lock accounts. Nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from appliance.console import credentials
from appliance.console.accounts import User, check_role, parse_aliases
from appliance.console.context import Visit, allowed, check_csrf
from appliance.console.store import invite
from appliance.core.errors import ConsoleAccountError

router = APIRouter()
Admin = Annotated[Visit, Depends(allowed("users"))]
Text = Annotated[str, Form(max_length=512)]


@router.get("/users")
def users(visit: Admin) -> Response:
    """Show the accounts."""
    visit.scribe.event("console.view_users")
    return _show(visit)


def _show(visit: Visit, code: str | None = None, invited: User | None = None) -> Response:
    found = sorted(visit.console.store.all().values(), key=lambda u: u.name)
    now = visit.console.clock.now()
    return visit.page(
        "users.html",
        users=[(u, u.is_locked(now)) for u in found],
        code=code,
        invited=invited,
        hours=visit.console.settings.console.invitation_hours,
    )


@router.post("/users")
def create(visit: Admin, name: Text, role: Text, csrf: Text, aliases: Text = "") -> Response:
    """Invite somebody; the code is shown once and enrols that person only."""
    check_csrf(visit, csrf)
    made = User(name.strip().casefold(), check_role(role), parse_aliases(aliases))
    console = visit.console
    detail = {"new_role": made.role, "aliases": len(made.aliases)}
    with visit.scribe.action("console.user_create", object_id=made.name, detail=detail):
        user, code = invite(
            console.store,
            made,
            console.settings.console,
            console.clock.now(),
            by=str(visit.scribe.user),
        )
    return _show(visit, code, user)


@router.post("/users/{name}")
def change(  # noqa: PLR0913, PLR0917 - one parameter a field of the form
    visit: Admin, name: str, act: Text, csrf: Text, role: Text = "", aliases: Text = ""
) -> Response:
    """Change another person's account; its sessions end at once."""
    check_csrf(visit, csrf)
    if name == visit.scribe.user:
        raise ConsoleAccountError(expected="an account other than your own", found="your own")
    console = visit.console
    code: str | None = None
    with visit.scribe.action("console.user_change", object_id=name[:32], detail={"change": act}):
        with console.store.changing(name) as box:
            if act == "disable":
                box[0] = replace(box[0], disabled=True)
            elif act == "enable":
                box[0] = replace(box[0], disabled=False, failures=0, locked_until=None)
            elif act == "invite":
                code, box[0] = _invite_again(visit, box[0])
            elif act == "edit":
                box[0] = replace(box[0], role=check_role(role), aliases=parse_aliases(aliases))
            else:
                raise ConsoleAccountError(expected="a change that is known", found="another")
            changed = box[0]
        console.sessions.end_all(name)
    if code is not None:
        return _show(visit, code, changed)
    visit.notice(visit.words("The account is changed."))
    return visit.go("/users")


def _invite_again(visit: Visit, user: User) -> tuple[str, User]:
    """Take password and second factor away and invite anew (a lost telephone)."""
    from datetime import timedelta

    code, kept = credentials.new_invitation()
    hours = visit.console.settings.console.invitation_hours
    until = visit.console.clock.now() + timedelta(hours=hours)
    fresh = replace(
        user, password=None, totp=None, invitation=kept, invited_until=until.isoformat()
    )
    return code, fresh
