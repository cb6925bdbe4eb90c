"""IHE BALP: an entry as a FHIR R4 AuditEvent.

Reads, writes and searches about one patient follow the profiles PatientRead, PatientCreate and so
on (profiles.ihe.net/ITI/BALP 1.1.3); everything else is a plain AuditEvent with DICOM codes.
"""

from __future__ import annotations

from typing import Any, Final

from appliance.audit.export.common import DCM, SUBTYPE_NAMES, TYPE_NAMES, Record, Source

PROFILE: Final = "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit."
_HL7: Final = "http://terminology.hl7.org/CodeSystem/"
_BALP: Final = "https://profiles.ihe.net/ITI/BALP/CodeSystem/"
# CRUDE letter -> profile, FHIR interaction, (client role, server role): the source of the data
# is the server in a read and the client otherwise.
_SOURCE, _DESTINATION = ("110153", "Source Role ID"), ("110152", "Destination Role ID")
_PROFILES: Final = {
    "C": ("PatientCreate", "create", _SOURCE, _DESTINATION),
    "R": ("PatientRead", "read", _DESTINATION, _SOURCE),
    "U": ("PatientUpdate", "update", _SOURCE, _DESTINATION),
    "D": ("PatientDelete", "delete", _SOURCE, _DESTINATION),
    "E": ("PatientQuery", "search", _SOURCE, _DESTINATION),
}


def to_balp(record: Record, source: Source) -> dict[str, Any]:
    """Return the AuditEvent resource."""
    patient = bool(record.get("patient")) and record.value.get("type") in {"110110", "110112"}
    event: dict[str, Any] = {
        "resourceType": "AuditEvent",
        "id": record.get("id"),
        "type": _coding(DCM, record.get("type"), TYPE_NAMES),
        "subtype": [_coding(DCM, s, SUBTYPE_NAMES) for s in record.value.get("subtype", [])],
        "action": record.get("crude"),
        "recorded": record.at,
        "outcome": record.outcome,
        "outcomeDesc": record.get("reason") or record.get("outcome"),
        "agent": _agents(record, source, patient=patient),
        "source": {
            "site": source.site,
            "observer": {"display": source.name, "identifier": {"value": source.name}},
            "type": [{"system": _HL7 + "security-source-type", "code": "4"}],
        },
        "entity": _entities(record, source),
    }
    if record.get("purpose"):
        event["purposeOfEvent"] = [_purpose(record)]
    if patient:
        profile, interaction, _, _ = _PROFILES[record.get("crude")]
        event["meta"] = {"profile": [PROFILE + profile]}
        event["type"] = {"system": _HL7 + "audit-event-type", "code": "rest"}
        first = {"system": "http://hl7.org/fhir/restful-interaction", "code": interaction}
        event["subtype"] = [first, *event["subtype"]]
    return {name: value for name, value in event.items() if value not in ("", [], None)}


def _coding(system: str, code: str, names: dict[str, str]) -> dict[str, str]:
    coding = {"system": system, "code": code}
    return {**coding, "display": names[code]} if code in names else coding


def _purpose(record: Record) -> dict[str, Any]:
    coding = {"system": _HL7 + "v3-ActReason", "code": record.get("purpose")}
    return {"coding": [coding]}


def _role(code: tuple[str, str]) -> dict[str, Any]:
    return {"coding": [{"system": DCM, "code": code[0], "display": code[1]}]}


def _agents(record: Record, source: Source, *, patient: bool) -> list[dict[str, Any]]:
    client, server = _PROFILES[record.get("crude")][2:] if patient else (_SOURCE, _DESTINATION)
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
            "type": {"coding": [{"system": _BALP + "UserAgentTypes", "code": "UserOauthAgent"}]},
            "who": {"identifier": {"value": record.user}, "display": record.user},
            "requestor": True,
        }
        if record.get("session"):
            user["policy"] = [record.get("session")]  # the token's id (JWT ID)
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
