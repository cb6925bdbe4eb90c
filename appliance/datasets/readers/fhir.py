"""FHIR R4 NDJSON as hospitals export it: Patient, DocumentReference, Observation."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

from appliance.datasets.readers.base import list_of, text_of
from appliance.datasets.readers.notes import RTF_MARK, plain
from appliance.datasets.record import Record, RecordInvalidError

TEXT_TYPES: Final = ("text/plain", "text/rtf", "application/rtf")


def matches(value: dict[str, Any]) -> bool:
    """Tell whether an object is a FHIR resource."""
    return isinstance(value.get("resourceType"), str)


def parse(value: dict[str, Any]) -> Record:
    """Return the note of a resource; its group is the patient."""
    kind = value.get("resourceType")
    identifier = text_of(value, "id")
    if not identifier:
        raise RecordInvalidError("the resource has no id")
    if kind == "Patient":
        text, patient = _patient(value), f"Patient/{identifier}"
    elif kind == "DocumentReference":
        text, patient = _document(value), _subject(value)
    elif kind == "Observation":
        text, patient = _observation(value), _subject(value)
    else:
        raise RecordInvalidError("the resource is not Patient, DocumentReference or Observation")
    return Record(
        id=f"fhir:{kind}/{identifier}",
        kind="note",
        context=text,
        category=str(kind),
        source="fhir",
        group=patient,
    )


def _subject(value: dict[str, Any]) -> str:
    subject = value.get("subject")
    reference = text_of(subject, "reference") if isinstance(subject, dict) else ""
    if not reference:
        return ""
    # Patient/1, https://server/fhir/Patient/1 and urn:uuid:1 are the same patient here.
    return f"Patient/{reference.replace(':', '/').rsplit('/', 1)[-1]}"


def _patient(value: dict[str, Any]) -> str:
    lines = [f"Paciente: {name}" for name in _names(value)]
    if born := text_of(value, "birthDate"):
        lines.append(f"Data de nascimento: {born}")
    for item in _objects(value, "identifier"):
        kind = item.get("type")
        label = text_of(kind, "text") if isinstance(kind, dict) else ""
        label = label or text_of(item, "system").rsplit("/", 1)[-1].upper() or "Identificador"
        lines.append(f"{label}: {text_of(item, 'value')}")
    lines.extend(f"Contato: {text_of(item, 'value')}" for item in _objects(value, "telecom"))
    for item in _objects(value, "address"):
        parts = [p for p in list_of(item, "line") if isinstance(p, str)]
        parts += [text_of(item, name) for name in ("city", "state", "postalCode")]
        lines.append("Endereço: " + ", ".join(part for part in parts if part))
    return "\n".join(lines)


def _names(value: dict[str, Any]) -> list[str]:
    names = []
    for item in _objects(value, "name"):
        given = [part for part in list_of(item, "given") if isinstance(part, str)]
        names.append(text_of(item, "text") or " ".join([*given, text_of(item, "family")]).strip())
    return [name for name in names if name]


def _document(value: dict[str, Any]) -> str:
    texts = []
    for content in _objects(value, "content"):
        attachment = content.get("attachment")
        if not isinstance(attachment, dict):
            raise RecordInvalidError("content has no attachment")
        kind = text_of(attachment, "contentType").split(";")[0].strip().lower()
        if kind not in TEXT_TYPES:
            raise RecordInvalidError("the attachment is not plain text or RTF")
        try:
            data = base64.b64decode(text_of(attachment, "data"), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise RecordInvalidError("the attachment is not base64 of UTF-8 text") from None
        texts.append(plain(data) if data.startswith(RTF_MARK) else data)
    return "\n".join(texts).strip()


def _observation(value: dict[str, Any]) -> str:
    code = value.get("code")
    name = text_of(code, "text") if isinstance(code, dict) else ""
    if not name and isinstance(code, dict):
        name = next((text_of(c, "display") for c in _objects(code, "coding")), "")
    if not name:
        raise RecordInvalidError("the observation has no code with a name")
    when = text_of(value, "effectiveDateTime")[:10]
    return f"{name}: {_value(value)}" + (f" ({when})" if when else "")


def _value(value: dict[str, Any]) -> str:
    quantity = value.get("valueQuantity")
    if isinstance(quantity, dict) and isinstance(quantity.get("value"), int | float):
        return f"{quantity['value']} {text_of(quantity, 'unit', 'code')}".strip()
    concept = value.get("valueCodeableConcept")
    if isinstance(concept, dict) and (text := text_of(concept, "text")):
        return text
    if text := text_of(value, "valueString"):
        return text
    raise RecordInvalidError("the observation has no value that is understood")


def _objects(value: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = list_of(value, name)
    if not all(isinstance(item, dict) for item in found):
        raise RecordInvalidError(f"{name} holds something that is not an object")
    return found
