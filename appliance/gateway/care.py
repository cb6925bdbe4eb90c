"""Whom a question is about and why: what an application says in headers, for the audit log.

An officer must be able to see who used the AI on which patient, and find every emergency access
with its justification (SBIS NGS1.11.07). The patient's number never leaves this module in clear:
the log gets a keyed pseudonym. Header values are percent-encoded UTF-8: HTTP headers are Latin-1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import unquote

from appliance.audit.recorder import Fields
from appliance.core.errors import RequestRefusedError

PATIENT: Final = "x-patient-id"
USER: Final = "x-end-user"
PURPOSE: Final = "x-purpose-of-use"
EMERGENCY: Final = "x-emergency-justification"
# HL7 v3 PurposeOfUse, the part that fits a question to a clinical assistant.
PURPOSES: Final = frozenset({"TREAT", "ETREAT", "CAREMGT", "HOPERAT", "HQUALIMP", "HTEST", "ETEST"})
EMERGENCY_PURPOSE: Final = "ETREAT"
MAX_VALUE: Final = 200  # characters: a number, a login name or one sentence
MIN_JUSTIFICATION: Final = 10  # characters: "urgente" alone justifies nothing
_USER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Pseudonymiser(Protocol):
    """Turns a patient's number into what the log may hold."""

    def pseudonym(self, patient_id: str) -> str:
        """Return the keyed pseudonym; raises ``ValueError`` for what is no number."""
        ...


@dataclass(frozen=True, slots=True)
class Care:
    """The context of one question, ready for the log."""

    fields: Fields = field(default_factory=Fields)


def read_care(
    headers: Mapping[str, str], pseudonyms: Pseudonymiser, *, patient_needed: bool
) -> Care:
    """Return what the headers say; raises ``RequestRefusedError`` (400) naming the header.

    An emergency needs a patient and a justification; both go to the log before anything is
    answered, and the access waits in the console for a review.
    """
    found = Fields()
    patient = _value(headers, PATIENT)
    if patient:
        try:
            found["patient"] = pseudonyms.pseudonym(patient)
        except ValueError:
            raise _refused(PATIENT, "a patient's number", "no letters or digits") from None
    elif patient_needed:
        raise _refused(PATIENT, "the patient's number (gateway.patient_needed is on)", "none")
    if user := _value(headers, USER):
        if not _USER.fullmatch(user):
            raise _refused(USER, "a login name of 64 characters at most", "another form")
        found["user"] = user
    found.update(_purpose(headers, patient))
    return Care(found)


def _purpose(headers: Mapping[str, str], patient: str) -> Fields:
    found = Fields()
    if purpose := _value(headers, PURPOSE):
        if purpose not in PURPOSES:
            raise _refused(PURPOSE, f"one of {', '.join(sorted(PURPOSES))}", "another code")
        found["purpose"] = purpose
    justification = _value(headers, EMERGENCY)
    if not justification:
        if purpose == EMERGENCY_PURPOSE:
            raise _refused(EMERGENCY, "a justification for an emergency access", "none")
        return found
    if not patient:
        raise _refused(PATIENT, "the patient of an emergency access", "none")
    if len(justification) < MIN_JUSTIFICATION:
        raise _refused(EMERGENCY, f"{MIN_JUSTIFICATION} characters or more", "fewer")
    return Fields(
        break_glass=True, justification=justification, purpose=purpose or EMERGENCY_PURPOSE
    )


def _value(headers: Mapping[str, str], name: str) -> str:
    value = unquote(headers.get(name, ""), errors="replace").strip()
    if len(value) > MAX_VALUE or not value.isprintable():
        raise _refused(name, f"printable text of {MAX_VALUE} characters at most", "another value")
    return value


def _refused(header: str, expected: str, found: str) -> RequestRefusedError:
    return RequestRefusedError(
        expected=f"{header}: {expected}", found=found, param=header, status=400
    )
