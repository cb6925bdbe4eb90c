"""ATNA: an entry as a DICOM audit message (PS3.15 A.5), in an RFC 5424 syslog message."""

from __future__ import annotations

import base64
import re
from typing import Final
from xml.etree import ElementTree as ET

from appliance.audit.export.common import SUBTYPE_NAMES, TYPE_NAMES, Record, Source

PRIORITY: Final = 85  # facility 10 (security), severity 5 (notice), as IHE ITI TF-2 3.20 shows
MESSAGE_ID: Final = "DICOM+RFC3881"
BOM: Final = b"\xef\xbb\xbf"
_ILLEGAL: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BAD_NAME: Final = str.maketrans(dict.fromkeys(' "]=', "_"))


def to_atna(record: Record, source: Source) -> bytes:
    """Return the AuditMessage as UTF-8 XML."""
    root = ET.Element("AuditMessage")
    event = ET.SubElement(
        root,
        "EventIdentification",
        EventActionCode=record.get("crude"),
        EventDateTime=record.at,
        EventOutcomeIndicator=record.outcome,
    )
    _code(event, "EventID", record.get("type"), TYPE_NAMES)
    for subtype in record.value.get("subtype", []):
        _code(event, "EventTypeCode", subtype, SUBTYPE_NAMES)
    if record.get("reason"):
        ET.SubElement(event, "EventOutcomeDescription").text = record.get("reason")
    _participants(root, record, source)
    audit = ET.SubElement(
        root,
        "AuditSourceIdentification",
        AuditEnterpriseSiteID=source.site,
        AuditSourceID=source.name,
    )
    ET.SubElement(audit, "AuditSourceTypeCode", {"csd-code": "4"})
    _objects(root, record)
    for element in root.iter():
        element.attrib.update({k: _legal(v) for k, v in element.attrib.items()})
        element.text = _legal(element.text) if element.text else None
    text: str = ET.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


def _legal(text: str) -> str:
    """Return ``text`` without the characters that XML 1.0 cannot hold."""
    return _ILLEGAL.sub("\ufffd", text)


def _code(parent: ET.Element, tag: str, code: str, names: dict[str, str]) -> None:
    name = names.get(code, code)
    ET.SubElement(parent, tag, {"csd-code": code, "codeSystemName": "DCM", "originalText": name})


def _participants(root: ET.Element, record: Record, source: Source) -> None:
    user = ET.SubElement(
        root,
        "ActiveParticipant",
        UserID=record.user,
        UserIsRequestor="true",
        NetworkAccessPointID=record.get("ip") or source.address,
        NetworkAccessPointTypeCode="2",
    )
    if record.get("session"):
        user.set("AlternativeUserID", record.get("session"))
    _code(user, "RoleIDCode", "110153", {"110153": "Source Role ID"})
    machine = ET.SubElement(
        root,
        "ActiveParticipant",
        UserID=record.get("component"),
        AlternativeUserID=source.name,
        UserIsRequestor="false",
        NetworkAccessPointID=source.address,
        NetworkAccessPointTypeCode="2",
    )
    _code(machine, "RoleIDCode", "110152", {"110152": "Destination Role ID"})


def _objects(root: ET.Element, record: Record) -> None:
    if record.get("patient"):
        patient = _object(root, record.get("patient"), "1", "1", ("2", "Patient Number"))
        ET.SubElement(patient, "ParticipantObjectName").text = "pseudonym"
    what = _object(
        root,
        record.get("object_id") or record.get("id"),
        "2",
        "4" if record.get("object_id") else "20",
        ("12", "URI"),
    )
    ET.SubElement(what, "ParticipantObjectName").text = record.get("action")
    details = {
        **record.ai,
        "phase": record.get("phase"),
        "outcome": record.get("outcome"),
        "purpose": record.get("purpose"),
        "request_id": record.get("request_id"),
        "justification": record.get("justification"),
        "log_index": str(record.index),
        "log_leaf_sha256": record.leaf,
    }
    for name, value in details.items():
        if value:
            encoded = base64.b64encode(value.encode()).decode()
            ET.SubElement(what, "ParticipantObjectDetail", type=name, value=encoded)


def _object(
    root: ET.Element, ident: str, kind: str, role: str, code: tuple[str, str]
) -> ET.Element:
    element = ET.SubElement(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=ident,
        ParticipantObjectTypeCode=kind,
        ParticipantObjectTypeCodeRole=role,
    )
    attributes = {"csd-code": code[0], "codeSystemName": "RFC-3881", "originalText": code[1]}
    ET.SubElement(element, "ParticipantObjectIDTypeCode", attributes)
    return element


def syslog_message(record: Record, source: Source, *, process: int) -> bytes:
    """Return the RFC 5424 message around the audit message (UTF-8, with its byte order mark)."""
    host = source.name.translate(_BAD_NAME)[:255] or "-"
    application = record.get("component").translate(_BAD_NAME)[:48] or "-"
    head = f"<{PRIORITY}>1 {record.at} {host} {application} {process} {MESSAGE_ID} - "
    return head.encode("ascii", "replace") + BOM + to_atna(record, source)


def frame(message: bytes) -> bytes:
    """Return a message for the stream: its length, a space, the message (RFC 5425, 4.3)."""
    return str(len(message)).encode() + b" " + message
