"""Every export is read by somebody else's schema or parser."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pycef
import pytest
from fhir.resources.R4B.auditevent import AuditEvent
from hypothesis import given
from hypothesis import strategies as st
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from appliance.audit.event import encode, make_event
from appliance.audit.export import FORMATS, Record, Source, lines
from appliance.audit.export.atna import frame, syslog_message, to_atna
from appliance.audit.export.balp import PROFILE, to_balp
from appliance.audit.export.cef import to_cef
from appliance.audit.export.ecs import to_ecs
from appliance.audit.export.ocsf import to_ocsf
from appliance.audit.export.table import safe_cell
from appliance.audit.tree import leaf_hash

SOURCE = Source("appliance.hospital.example", "site-1", "0.1.0", "192.0.2.1")
OCSF = OcsfJsonSchemaEmbedded(get_ocsf_schema(version="1.8.0"))


def record(**fields: Any) -> Record:
    """One entry as the writer leaves it."""
    given: dict[str, Any] = {
        "id": "0" * 31 + "7",
        "time": "2026-03-01T12:00:00.000001Z",
        "counter": 5,
        "phase": "outcome",
        "intent": "0" * 31 + "6",
        "action": "gateway.chat",
        "type": "110110",
        "crude": "R",
        "component": "gateway",
        "outcome": "success",
        "user": "doctor-1",
        "role": "physician",
        "session": "token-1",
        "purpose": "TREAT",
        "ip": "192.0.2.7",
        "patient": "p1-ana",
        "object_id": "Observation/17",
        "request_id": "req-9",
        "model": "sha256:aa",
        "adapter": "sha256:bb",
        "detail": {"tokens": 12, "note": "ok"},
    }
    body = encode(make_event(**{**given, **fields}))
    stamp = b',"written":{"at":"2026-03-01T12:00:01.250000Z","log":1,"n":41,"pid":9,"uid":0}}'
    return Record.parse(body[:-1] + stamp)


PLAIN = record(
    action="audit.started",
    type="110101",
    subtype=("110134",),
    crude="E",
    component="audit",
    phase="event",
    intent=None,
    outcome=None,
    user=None,
    role=None,
    session=None,
    purpose=None,
    ip=None,
    patient=None,
    object_id=None,
    request_id=None,
    model=None,
    adapter=None,
)
BREAK_GLASS = record(
    break_glass=True, justification="cardiac arrest | bed=4", outcome="refused", reason="no quota"
)
EVERY = [record(), PLAIN, BREAK_GLASS, *(record(crude=c) for c in "CUDE")]
ids = [f"{r.get('action')}-{r.get('crude')}-{i}" for i, r in enumerate(EVERY)]


@pytest.mark.parametrize("item", EVERY, ids=ids)
def test_balp_is_a_fhir_audit_event(item: Record) -> None:
    event = to_balp(item, SOURCE)
    read = AuditEvent.model_validate_json(json.dumps(event))
    assert read.recorded is not None and read.source is not None
    assert read.recorded.isoformat() == "2026-03-01T12:00:01.250000+00:00"
    assert read.source.observer.display == SOURCE.name
    assert read.outcome in {"0", "4", "8", "12"}


HL7 = "http://terminology.hl7.org/CodeSystem/"
DCM = "http://dicom.nema.org/resources/ontology/DCM"
# What each profile of profiles.ihe.net/ITI/BALP 1.1.4 fixes. No package that can be installed
# carries its StructureDefinitions, so this table is written by hand after them.
# CRUDE -> profile, interaction, type of the client, of the server, allowed types of the user.
AUTHORS = {(HL7 + "v3-ParticipationType", code) for code in ("AUT", "INF", "CST")}
RECIPIENT = {(HL7 + "v3-ParticipationType", "IRCP")}
BALP = {
    "C": ("PatientCreate", "create", (DCM, "110153"), (DCM, "110152"), AUTHORS),
    "R": ("PatientRead", "read", (DCM, "110152"), (DCM, "110153"), RECIPIENT),
    "U": ("PatientUpdate", "update", (DCM, "110153"), (DCM, "110152"), AUTHORS),
    "D": (
        "PatientDelete",
        "delete",
        (DCM, "110150"),
        (HL7 + "provenance-participant-type", "custodian"),
        AUTHORS,
    ),
}


def coding(value: dict[str, Any]) -> tuple[str, str]:
    """System and code of a Coding or of a CodeableConcept's only one."""
    [found] = value.get("coding", [value])
    return found["system"], found["code"]


@pytest.mark.parametrize("user", ["doctor-1", None])
@pytest.mark.parametrize("crude", BALP)
def test_balp_has_what_the_profile_requires(crude: str, user: str | None) -> None:
    """One client, one server, at most one user, one data entity, one patient, one transaction."""
    profile, interaction, client, server, users = BALP[crude]
    event = to_balp(record(crude=crude, user=user), SOURCE)
    assert event["meta"]["profile"] == [PROFILE + profile]
    assert coding(event["type"]) == (HL7 + "audit-event-type", "rest")
    assert (event["action"], event["outcome"]) == (crude, "0")
    interactions = [s for s in event["subtype"] if "restful-interaction" in s["system"]]
    assert [s["code"] for s in interactions] == [interaction]
    agents = {coding(a["type"]): a for a in event["agent"]}
    assert len(agents) == len(event["agent"]) == (3 if user else 2)
    for machine in (client, server):
        assert agents[machine]["who"] and agents[machine]["network"]["address"]
        assert "media" not in agents[machine]
    people = [agents[key] for key in agents if key in users]
    assert len(people) == len(event["agent"]) - 2
    for person in people:
        assert person["requestor"] and person["policy"] == ["token-1"] and person["who"]
        assert "network" not in person and "media" not in person
        assert coding(person["purposeOfUse"][0])[1] == "TREAT"
    assert sum(a["requestor"] for a in event["agent"]) == 1
    by_type: dict[tuple[str, str], list[Any]] = {}
    for entity in event["entity"]:
        by_type.setdefault(coding(entity["type"]), []).append(entity)
    [data] = by_type.pop((HL7 + "audit-entity-type", "2"))
    assert coding(data["role"]) in {(HL7 + "object-role", c) for c in ("3", "4", "20")}
    assert data["what"]["identifier"]["value"] == "Observation/17"
    [patient] = by_type.pop((HL7 + "audit-entity-type", "1"))
    assert coding(patient["role"]) == (HL7 + "object-role", "1")
    assert patient["what"] == {"type": "Patient", "identifier": {"value": "p1-ana"}}
    [[transaction]] = by_type.values()
    assert transaction["type"]["code"] == "XrequestId"
    assert transaction["what"]["identifier"]["value"] == "req-9"


@pytest.mark.parametrize(
    "plain",
    [
        {"outcome": "refused"},
        {"outcome": "failure"},
        {"outcome": "unknown"},
        {"phase": "intent", "intent": None, "outcome": None},
        {"crude": "E"},
        {"type": "110112"},
        {"patient": None},
    ],
    ids=str,
)
def test_balp_claims_no_profile_for_what_is_not_a_successful_act_on_a_patients_record(
    plain: dict[str, Any],
) -> None:
    event = to_balp(record(**plain), SOURCE)
    AuditEvent.model_validate_json(json.dumps(event))
    assert "meta" not in event
    assert event["type"]["code"] == plain.get("type", "110110")


def test_balp_names_the_leaf_so_that_the_event_can_be_proved() -> None:
    item = record()
    details = to_balp(item, SOURCE)["entity"][0]["detail"]
    values = {d["type"]: d["valueString"] for d in details}
    assert values["log-leaf-sha256"] == leaf_hash(item.data).hex()
    assert values["log-index"] == "41" and values["adapter"] == "sha256:bb"
    assert "profile" not in to_balp(PLAIN, SOURCE).get("meta", {})


CODED = {"csd-code", "codeSystemName", "originalText"}
# DICOM PS3.15 A.5.1: element -> (attributes that must, attributes that may, children in order).
SCHEMA: dict[str, tuple[set[str], set[str], list[str]]] = {
    "AuditMessage": (
        set(),
        set(),
        [
            "EventIdentification",
            "ActiveParticipant",
            "AuditSourceIdentification",
            "ParticipantObjectIdentification",
        ],
    ),
    "EventIdentification": (
        {"EventDateTime", "EventOutcomeIndicator"},
        {"EventActionCode"},
        ["EventID", "EventTypeCode", "EventOutcomeDescription"],
    ),
    "EventID": (CODED, {"displayName"}, []),
    "EventTypeCode": (CODED, {"displayName"}, []),
    "EventOutcomeDescription": (set(), set(), []),
    "ActiveParticipant": (
        {"UserID", "UserIsRequestor"},
        {
            "AlternativeUserID",
            "UserName",
            "NetworkAccessPointID",
            "NetworkAccessPointTypeCode",
        },
        ["RoleIDCode"],
    ),
    "RoleIDCode": (CODED, {"displayName"}, []),
    "AuditSourceIdentification": (
        {"AuditSourceID"},
        {"AuditEnterpriseSiteID"},
        ["AuditSourceTypeCode"],
    ),
    "AuditSourceTypeCode": ({"csd-code"}, CODED | {"displayName"}, []),
    "ParticipantObjectIdentification": (
        {"ParticipantObjectID"},
        {"ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole"},
        ["ParticipantObjectIDTypeCode", "ParticipantObjectName", "ParticipantObjectDetail"],
    ),
    "ParticipantObjectIDTypeCode": (CODED, {"displayName"}, []),
    "ParticipantObjectName": (set(), set(), []),
    "ParticipantObjectDetail": ({"type", "value"}, set(), []),
}


@pytest.mark.parametrize("item", EVERY, ids=ids)
def test_atna_has_the_structure_of_the_dicom_schema(item: Record) -> None:
    root = ET.fromstring(to_atna(item, SOURCE))  # noqa: S314 - our own bytes
    assert root.tag == "AuditMessage"
    for element in root.iter():
        must, may, children = SCHEMA[element.tag]
        assert must <= set(element.attrib) <= must | may, element.tag
        places = [children.index(child.tag) for child in element]
        assert places == sorted(places), element.tag
    assert len(root.findall("ActiveParticipant")) == 2
    assert len(root.findall("AuditSourceIdentification")) == 1
    event = root.find("EventIdentification")
    assert event is not None and event.get("EventOutcomeIndicator") in {"0", "4", "8", "12"}
    assert event.get("EventActionCode") in set("CRUDE")
    for obj in root.findall("ParticipantObjectIdentification"):
        assert len(obj.findall("ParticipantObjectName")) == 1
    details = root.iter("ParticipantObjectDetail")
    values = {d.get("type"): base64.b64decode(d.get("value") or "").decode() for d in details}
    assert values["log_leaf_sha256"] == leaf_hash(item.data).hex()


@given(
    st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x7f"), max_size=60)
)
def test_atna_is_well_formed_whatever_the_user_is_called(name: str) -> None:
    user = "".join(c for c in name if ord(c) >= 32) or "nobody"
    root = ET.fromstring(to_atna(record(user=user), SOURCE))  # noqa: S314 - our own bytes
    participant = root.find("ActiveParticipant")
    assert participant is not None
    legal = re.sub("[\ufffe\uffff]", "\ufffd", user)
    assert participant.get("UserID") == legal


def test_the_syslog_message_is_rfc_5424_with_the_ihe_message_id() -> None:
    message = syslog_message(record(), SOURCE, process=12)
    pattern = (
        rb"<85>1 2026-03-01T12:00:01\.250000Z appliance\.hospital\.example gateway 12 "
        rb"DICOM\+RFC3881 - \xef\xbb\xbf<\?xml"
    )
    assert re.match(pattern, message)
    length, _, rest = frame(message).partition(b" ")
    assert int(length) == len(rest)


@pytest.mark.parametrize("item", EVERY, ids=ids)
def test_ocsf_is_valid_under_its_published_schema(item: Record) -> None:
    event = to_ocsf(item, SOURCE)
    profiles = event["metadata"].get("profiles", [])
    schema = OCSF.get_class_schema("api_activity", profiles)
    jsonschema.Draft202012Validator(schema).validate(event)
    assert ("ai_model" in event) == ("ai_operation" in profiles) == bool(item.get("model"))
    assert event["raw_data_hash"]["value"] == leaf_hash(item.data).hex()
    assert event["metadata"]["sequence"] == 41


def test_the_ocsf_schema_refuses_an_unknown_member() -> None:
    """The check above can fail."""
    event = {**to_ocsf(record(), SOURCE), "patient": "x"}
    schema = OCSF.get_class_schema("api_activity", ["ai_operation"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(schema).validate(event)


@pytest.mark.parametrize("item", EVERY, ids=ids)
def test_ecs_is_a_bulk_request(item: Record) -> None:
    [text] = [b.decode() for b in lines("ecs", [item], SOURCE, index="audit-2026")]
    action, document = (json.loads(line) for line in text.splitlines())
    assert text.endswith("\n")
    assert action == {"create": {"_index": "audit-2026", "_id": item.get("id")}}
    assert document == to_ecs(item, SOURCE)
    assert document["@timestamp"] == item.at and document["ecs"]["version"]
    assert all(isinstance(v, str) for v in document["labels"].values())


@pytest.mark.parametrize("item", EVERY, ids=ids)
def test_a_cef_parser_by_others_reads_the_line(item: Record) -> None:
    read = pycef.parse(to_cef(item, SOURCE))
    assert read["CEFVersion"] == "0"
    assert read["DeviceProduct"] == SOURCE.name
    assert read["Name"] == item.get("action")
    assert read["externalId"] == item.get("id")
    assert read["logIndex"] == "41"
    assert read["fileHash"] == item.leaf
    if item.get("patient"):
        assert read["patientPseudonym"] == "p1-ana"


def test_cef_escapes_what_would_break_the_line() -> None:
    text = to_cef(record(user="a=b\\c", object_id="x|y"), Source("a|b\\c"))
    assert "a\\|b\\\\c" in text and "suser=a\\=b\\\\c" in text
    assert "\n" not in text


@given(st.text(max_size=40))
def test_no_cell_starts_a_formula(text: str) -> None:
    assert safe_cell(text)[:1] not in {"=", "+", "-", "@", "\t", "\r"}
    assert safe_cell(text).endswith(text)


def test_csv_reads_back_and_is_safe_to_open() -> None:
    evil = record(user='=HYPERLINK("http://x")', justification="a,b", break_glass=True)
    data = b"".join(lines("csv", [evil, record()], SOURCE)).decode()
    rows = list(csv.DictReader(io.StringIO(data)))
    assert rows[0]["user"] == '\'=HYPERLINK("http://x")'
    assert rows[0]["justification"] == "a,b"
    assert rows[1]["leaf_sha256"] == record().leaf and rows[1]["index"] == "41"


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_writes_every_event(form: str) -> None:
    data = b"".join(lines(form, EVERY, SOURCE))
    per_event = 2 if form == "ecs" else 1
    assert data.count(b"\n") == len(EVERY) * per_event + (form == "csv")


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="balp"):
        list(lines("leef", [record()], SOURCE))
