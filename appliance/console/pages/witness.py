"""The witness round in the browser: a request as QR code and file, the answer taken back."""

from __future__ import annotations

import io
from typing import Annotated

from fastapi import APIRouter, Depends, Form
from fastapi.responses import Response

from appliance.audit.evidence import Part
from appliance.audit.officer import book_of, let_sign, logs_of, witness_status
from appliance.audit.qr import make_qr
from appliance.console.context import Visit, allowed, check_csrf
from appliance.core.errors import AuditWitnessRefusedError, ConsoleInputError
from appliance.core.errors.audit import AuditNoteInvalidError

router = APIRouter()
Reader = Annotated[Visit, Depends(allowed("read"))]
Officer = Annotated[Visit, Depends(allowed("witness"))]
Text = Annotated[str, Form(max_length=16_384)]


@router.get("/witness")
def witness(visit: Reader) -> Response:
    """Show how old each witness's word is."""
    return _show(visit)


@router.post("/witness/request")
def request(visit: Officer, csrf: Text, form: Text = "page") -> Response:
    """Make the request for the officer's device."""
    check_csrf(visit, csrf)
    home = visit.console.home
    visit.scribe.event("console.witness_request")
    let_sign(home)
    part = Part(logs_of(home)[-1])
    body = book_of(home).request(part.key, part.note.encode(), part.read)
    if form == "file":
        headers = {"Content-Disposition": 'attachment; filename="pedido.txt"'}
        return Response(body, media_type="text/plain; charset=utf-8", headers=headers)
    stream = io.BytesIO()
    make_qr(body).save(stream, kind="svg", scale=4, xmldecl=False, omitsize=False, light="#fff")
    return _show(visit, svg=stream.getvalue().decode(), request_text=body.decode(), size=part.size)


@router.post("/witness/answer")
def answer(visit: Officer, csrf: Text, text: Text) -> Response:
    """Take the device's answer and keep it with the log."""
    check_csrf(visit, csrf)
    home = visit.console.home
    with visit.scribe.action("console.witness_import") as act:
        refused: AuditWitnessRefusedError | None = None
        for shard in reversed(logs_of(home)):
            try:
                taken = book_of(home).accept(shard.verifier, text.encode())
                break
            except AuditWitnessRefusedError as error:
                refused = refused or error
        else:
            assert refused is not None
            raise refused
        newest = max(taken, key=lambda item: item.time)
        act.detail["witness"] = newest.witness.name
        act.detail["size"] = newest.checkpoint.size if newest.checkpoint else 0
    visit.notice(visit.words("The witness's signature is kept with the log."))
    return visit.go("/witness")


@router.post("/witness/trust")
def trust(visit: Officer, csrf: Text, vkey: Text) -> Response:
    """Accept a witness's key."""
    check_csrf(visit, csrf)
    try:
        with visit.scribe.action("console.witness_trust") as act:
            act.detail["witness"] = book_of(visit.console.home).trust(vkey.strip()).name
    except AuditNoteInvalidError:
        raise ConsoleInputError(expected="a witness's key", found="other text") from None
    visit.notice(visit.words("The witness is accepted."))
    return visit.go("/witness")


def _show(visit: Visit, svg: str | None = None, request_text: str = "", size: int = 0) -> Response:
    console = visit.console
    visit.scribe.event("console.view_witness")
    let_sign(console.home)
    return visit.page(
        "witness.html",
        lines=witness_status(console.home, console.settings.audit, console.clock),
        stale_hours=console.settings.audit.witness_stale_hours,
        keys=[shard.verifier.vkey for shard in logs_of(console.home)],
        svg=svg,
        request_text=request_text,
        size=size,
    )
