"""Evidence: entries, proofs and a verifier in one zip, for somebody who trusts nobody here."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from appliance.audit.evidence import Question
from appliance.audit.officer import Officer, let_sign, logs_of, utc
from appliance.audit.pseudonym import Pseudonyms, is_pseudonym
from appliance.console.context import Visit, allowed, check_csrf
from appliance.console.pages.events import parse_day
from appliance.core.errors import ConsoleInputError

router = APIRouter()
Exporter = Annotated[Visit, Depends(allowed("export"))]
Text = Annotated[str, Form(max_length=256)]
TYPE = "application/zip"


@router.get("/evidence")
def form(visit: Exporter, what: str = "emergency", day: str = "", patient: str = "") -> Response:
    """Ask which question the evidence answers."""
    console = visit.console
    visit.scribe.event("console.view_evidence")
    today = console.clock.now().astimezone(console.zone).date().isoformat()
    return visit.page(
        "evidence.html",
        what=what,
        first=day or today,
        last=day or today,
        patient=patient if is_pseudonym(patient) else "",
        keys=[shard.verifier.vkey for shard in logs_of(console.home)],
    )


@router.post("/evidence")
def export(  # noqa: PLR0913, PLR0917 - one parameter a field of the form
    visit: Exporter,
    what: Text,
    first: Text,
    last: Text,
    csrf: Text,
    who: Text = "",
    patient: Text = "",
    kind: Text = "complete",
) -> Response:
    """Make the zip and hand it over; the log keeps its SHA-256."""
    check_csrf(visit, csrf)
    console = visit.console
    since, end = parse_day(first, console.zone), parse_day(last, console.zone)
    if since is None or end is None or end < since:
        raise ConsoleInputError(expected="a date", found="none, or an end before the beginning")
    if end - since > timedelta(days=console.settings.console.export_days):
        raise ConsoleInputError(
            expected=f"at most {console.settings.console.export_days} days", found="more"
        )
    until = utc(end + timedelta(days=1) - timedelta(microseconds=1))
    where = _where(visit, what, who.strip(), patient.strip())
    detail = {"what": what, "from": first[:10], "to": last[:10]}
    pseudonym = str(where["patient"][0]) if "patient" in where else None
    scribe = visit.scribe
    with (
        scribe.action("console.export", patient=pseudonym, detail=detail) as act,
        tempfile.TemporaryDirectory(dir=console.home.run) as folder,
    ):
        target = Path(folder) / "evidence.zip"
        officer = Officer(console.home, console.settings.audit, scribe.recorder, console.clock)
        asked = Question(utc(since), until, where)
        made = officer.evidence(asked, "inclusion" if kind == "inclusion" else "complete", target)
        act.detail.update(sha256=made["sha256"], matches=made["matches"])
        data = target.read_bytes()
    let_sign(console.home)
    name = (
        f"evidencias-{first[:10]}.zip"
        if visit.language == "pt-BR"
        else f"evidence-{first[:10]}.zip"
    )
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(data, media_type=TYPE, headers=headers)


def _where(visit: Visit, what: str, who: str, patient: str) -> dict[str, list[str | bool]]:
    if what == "emergency":
        return {"break_glass": [True]}
    if what == "user" and who:
        return {"user": [who]}
    if what == "patient" and patient:
        if is_pseudonym(patient):
            return {"patient": [patient]}
        try:
            return {"patient": list(Pseudonyms(visit.console.home).candidates(patient))}
        except ValueError:
            raise ConsoleInputError(expected="a record number", found="none") from None
    if what == "all":
        return {}
    raise ConsoleInputError(expected="a user, a patient or the emergency accesses", found="none")
