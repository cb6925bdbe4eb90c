"""IHE BALP: an entry as a FHIR R4 AuditEvent.

A create, read, update or delete that succeeded on one patient's record follows the profile
PatientCreate, PatientRead and so on (profiles.ihe.net/ITI/BALP 1.1.4) and says so in
``meta.profile``. Everything else is a plain AuditEvent with DICOM codes and claims no profile: an
intent, a refusal and a failure because those profiles are about successful acts, a search because
PatientQuery asks for the words searched for, which the log never holds.
"""

from __future__ import annotations

from typing import Any, Final

from appliance.audit.codes import PATIENT_RECORD
from appliance.audit.export.common import DCM, SUBTYPE_NAMES, TYPE_NAMES, Record, Source

PROFILE: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_HL7: Final = "http://terminology.hl7.org/CodeSystem/"
_BALP: Final = "https://profiles.ihe.net/ITI/BALP/CodeSystem/"
_SOURCE: Final = (DCM, "110153", "Source Role ID")
_DESTINATION: Final = (DCM, "110152", "Destination Role ID")
_APPLICATION: Final = (DCM, "110150", "Application")
_CUSTODIAN: Final = (_HL7 + "provenance-participant-type", "custodian", "Custodian")
_RECIPIENT: Final = (_HL7 + "v3-ParticipationType", "IRCP", "information recipient")
_AUTHOR: Final = (_HL7 + "v3-ParticipationType", "AUT", "author (originator)")
# CRUDE letter -> profile, FHIR interaction, roles of client, server and user.
_PROFILES: Final = {
    "C": ("PatientCreate", "create", _SOURCE, _DESTINATION, _AUTHOR),
    "R": ("PatientRead", "read", _DESTINATION, _SOURCE, _RECIPIENT),
    "U": ("PatientUpdate", "update", _SOURCE, _DESTINATION, _AUTHOR),
    "D": ("PatientDelete", "delete", _APPLICATION, _CUSTODIAN, _AUTHOR),
}
_Code = tuple[str, str, str]
_PLAIN: Final = ("", "", _SOURCE, _DESTINATION, _RECIPIENT)


def to_balp(record: Record, source: Source) -> dict[str, Any]:
    """Return the AuditEvent resource."""
    profile, interaction, *roles = _profile(record)
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": record.get("id"),
        "type": _coding(DCM, record.get("type"), TYPE_NAMES),
        "subtype": [_coding(DCM, s, SUBTYPE_NAMES) for s in record.value.get("subtype", [])],
        "action": record.get("crude"),
        "recorded": record.at,
        "outcome": record.outcome,
        "outcomeDesc": record.get("reason") or record.get("outcome"),
        "agent": _agents(record, source, *roles),
        "source": {
            "site": source.site,
            "observer": {"display": source.name, "identifier": {"value": source.name}},
            "type": [{"system": _HL7 + "security-source-type", "code": "4"}],
        },
        "entity": _entities(record, source),
    }
    if record.get("purpose"):
        event["purposeOfEvent"] = [_purpose(record)]
    if profile:
        event["meta"] = {"profile": [PROFILE + profile]}
        event["type"] = {"system": _HL7 + "audit-event-type", "code": "rest"}
        first = {"system": "http://hl7.org/fhir/restful-interaction", "code": interaction}
        event["subtype"] = [first, *event["subtype"]]
    return {name: value for name, value in event.items() if value not in ("", [], None)}


def _profile(record: Record) -> tuple[str, str, _Code, _Code, _Code]:
    """Return the BALP profile the entry fulfils (or none), with the roles of who took part."""
    fulfils = (
        record.get("patient")
        and record.get("type") == PATIENT_RECORD
        and record.get("outcome") == "success"
    )
    return _PROFILES.get(record.get("crude"), _PLAIN) if fulfils else _PLAIN


def _coding(system: str, code: str, names: dict[str, str]) -> dict[str, str]:
    coding = {"system": system, "code": code}
    return {**coding, "display": names[code]} if code in names else coding


def _purpose(record: Record) -> dict[str, Any]:
    coding = {"system": _HL7 + "v3-ActReason", "code": record.get("purpose")}
    return {"coding": [coding]}


def _role(code: _Code) -> dict[str, Any]:
    return {"coding": [dict(zip(("system", "code", "display"), code, strict=True))]}


def _agents(
    record: Record, source: Source, client: _Code, server: _Code, person: _Code
) -> list[dict[str, Any]]:
    component = record.get("component")
    agents: list[dict[str, Any]] = [
        {
            "type": _role(client),
            "who": {"display": component, "identifier": {"value": component}},
            "requestor": not record.get("user"),
            "network": {"address": record.get("ip") or source.address, "type": "2"},
        },
        {
            "type": _role(server),
            "who": {"display": source.name, "identifier": {"value": source.name}},
            "requestor": False,
            "network": {"address": source.address, "type": "2"},
        },
    ]
    if record.get("user"):
        user: dict[str, Any] = {
            "type": _role(person),
            "who": {"identifier": {"value": record.user}, "display": record.user},
            "requestor": True,
        }
        if record.get("session"):
            user["policy"] = [
                record.get("session")
            ]  # the id of the session or of the key, not the key
        if record.get("purpose"):
            user["purposeOfUse"] = [_purpose(record)]
        if record.get("role"):
            user["role"] = [{"text": record.get("role")}]
        agents.append(user)
    return agents


def _entity(kind: str, role: str, **more: Any) -> dict[str, Any]:
    return {
        "type": {"system": _HL7 + "audit-entity-type", "code": kind},
        "role": {"system": _HL7 + "object-role", "code": role},
        **more,
    }


def _entities(record: Record, source: Source) -> list[dict[str, Any]]:
    found = []
    what = record.get("object_id") or f"{record.get('action')}:{record.get('id')}"
    details = {**record.ai, **(record.value.get("detail") or {})}
    details |= {"action": record.get("action"), "phase": record.get("phase")}
    details |= {"log-index": record.index, "log-leaf-sha256": record.leaf}
    if record.value.get("break_glass"):
        details["break-glass"] = record.get("justification")
    found.append(
        _entity(
            "2",
            "4",
            what={"identifier": {"system": f"urn:{source.name}", "value": what}},
            detail=[{"type": k, "valueString": str(v)} for k, v in details.items() if v != ""],
        )
    )
    if record.get("patient"):
        reference = {"type": "Patient", "identifier": {"value": record.get("patient")}}
        found.append(_entity("1", "1", what=reference))
    if record.get("request_id"):
        kind = {"system": _BALP + "BasicAuditEntityType", "code": "XrequestId"}
        what_id = {"identifier": {"value": record.get("request_id")}}
        found.append({"type": kind, "what": what_id})
    return found
