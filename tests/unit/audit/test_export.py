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


@pytest.mark.parametrize(
    ("crude", "profile", "interaction", "client", "server"),
    [
        ("C", "PatientCreate", "create", "110153", "110152"),
        ("R", "PatientRead", "read", "110152", "110153"),
        ("U", "PatientUpdate", "update", "110153", "110152"),
        ("D", "PatientDelete", "delete", "110153", "110152"),
        ("E", "PatientQuery", "search", "110153", "110152"),
    ],
)
def test_balp_has_what_the_profile_requires(
    crude: str, profile: str, interaction: str, client: str, server: str
) -> None:
    """profiles.ihe.net/ITI/BALP 1.1.3: one client, one server, one patient, one data entity."""
    event = to_balp(record(crude=crude), SOURCE)
    assert event["meta"]["profile"] == [PROFILE + profile]
    assert (event["type"]["code"], event["action"], event["outcome"]) == ("rest", crude, "0")
    assert event["subtype"][0]["code"] == interaction
    codes = [a["type"]["coding"][0]["code"] for a in event["agent"]]
    assert codes == [client, server, "UserOauthAgent"]
    assert all(a["who"] and a["network"]["address"] for a in event["agent"][:2])
    user = event["agent"][2]
    assert user["requestor"] and user["policy"] == ["token-1"]
    assert user["purposeOfUse"][0]["coding"][0]["code"] == "TREAT"
    patients = [e for e in event["entity"] if e.get("role", {}).get("code") == "1"]
    assert [p["what"]["identifier"]["value"] for p in patients] == ["p1-ana"]
    assert patients[0]["type"]["code"] == "1"
    data = [e for e in event["entity"] if e.get("role", {}).get("code") == "4"]
    assert [d["what"]["identifier"]["value"] for d in data] == ["Observation/17"]
    requests = [e for e in event["entity"] if e["type"]["code"] == "XrequestId"]
    assert requests[0]["what"]["identifier"]["value"] == "req-9"


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


# Elastic Common Schema 8.17: allowed values of the categorisation fields used here.
ECS_CATEGORIES = {"configuration", "database", "intrusion_detection", "authentication", "process"}
ECS_TYPES = {"creation", "access", "change", "deletion", "info"}


@pytest.mark.parametrize("item", EVERY, ids=ids)
def test_ecs_is_a_bulk_request(item: Record) -> None:
    [text] = [b.decode() for b in lines("ecs", [item], SOURCE, index="audit-2026")]
    action, document = (json.loads(line) for line in text.splitlines())
    assert text.endswith("\n")
    assert action == {"create": {"_index": "audit-2026", "_id": item.get("id")}}
    assert document == to_ecs(item, SOURCE)
    assert set(document["event"]["category"]) <= ECS_CATEGORIES
    assert set(document["event"]["type"]) <= ECS_TYPES
    assert document["event"]["outcome"] in {"success", "failure", "unknown"}
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
