"""Evidence: entries, proofs and a verifier in one zip, for somebody who trusts nobody here."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, Form
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from appliance.audit.evidence import Question
from appliance.audit.officer import Officer, logs_of, utc
from appliance.audit.pseudonym import Pseudonyms, is_pseudonym
from appliance.console.context import Visit, allowed, check_csrf
from appliance.console.pages.events import parse_day
from appliance.console.store import exports_folder
from appliance.core.durable import TEMP_PREFIX
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
    place = exports_folder(console.home)
    place.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=TEMP_PREFIX, dir=place))
    target = folder / "evidence.zip"
    try:
        with scribe.action("console.export", patient=pseudonym, detail=detail) as act:
            officer = Officer(console.home, console.settings.audit, scribe.recorder, console.clock)
            asked = Question(utc(since), until, where)
            made = officer.evidence(
                asked, "inclusion" if kind == "inclusion" else "complete", target
            )
            act.detail.update(sha256=made["sha256"], matches=made["matches"])
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    stem = "evidencias" if visit.language == "pt-BR" else "evidence"
    return FileResponse(
        target,
        media_type=TYPE,
        filename=f"{stem}-{first[:10]}.zip",
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )


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
