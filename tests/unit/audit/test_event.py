from __future__ import annotations

import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit import event, guard
from appliance.audit.codes import TABLE, codes_for
from appliance.core.errors import AuditEntryRefusedError

FIELDS: dict[str, Any] = {
    "id": "a" * 32,
    "time": "2026-01-02T03:04:05.000006Z",
    "counter": 12,
    "phase": "event",
    "action": "gateway.chat",
    "type": "110110",
    "crude": "R",
    "component": "gateway",
}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=12,
)


def body(**more: Any) -> bytes:
    return event.encode(event.make_event(**{**FIELDS, **more}))


@given(JSON)
def test_canonical_form_is_that_of_rfc8785(value: Any) -> None:
    assert event.canonical(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, "\ud800", object()])
def test_what_rfc8785_cannot_write_is_refused(value: Any) -> None:
    with pytest.raises(AuditEntryRefusedError):
        event.canonical({"a": value})


def test_a_body_comes_back_from_its_check() -> None:
    value = event.check_event(body(user="u", detail={"n": 1, "share": 0.5, "name": "São"}))
    assert value["detail"] == {"n": 1, "share": 0.5, "name": "São"}
    assert "patient" not in value


def test_the_writers_member_sorts_behind_every_field() -> None:
    assert max(event.FIELDS) < event.WRITER_MEMBER
    stamp = event.Stamp("2026-01-02T03:04:05.000006Z", 9999, 2**40, 2**22, 2**32 - 1)
    assert len(stamp.suffix()) <= event.STAMP_ROOM
    entry = body()[:-1] + stamp.suffix()
    assert rfc8785.dumps(json.loads(entry)) == entry
    assert event.parse_entry(entry)["written"]["n"] == 2**40


@pytest.mark.parametrize(
    "forged",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"{" * 5000,
        body()[:-1],
        body() + b" ",
        body() + b"{}",
        body().replace(b'"v":1', b'"v": 1'),
        body().replace(b'"crude":"R",', b'"crude":"R","crude":"R",'),
        body()[:-1] + b',"written":{"n":0}}',
        body().replace(b'"counter":12', b'"counter":12.0'),
        body().replace(b'"counter":12', b'"counter":1' + b"0" * 20),
        body(user="x").replace(b'"x"', b'"\xed\xa0\x80"'),
        body(user="x").replace(b'"x"', b'"\\u0078"'),
        body(user="x").replace(b'"x"', b'"\\ud800"'),
    ],
)
def test_a_forged_body_is_refused_without_a_crash(forged: bytes) -> None:
    with pytest.raises(AuditEntryRefusedError):
        event.check_body(forged)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_without_a_crash(data: bytes) -> None:
    with pytest.raises(AuditEntryRefusedError):
        event.check_body(data)


def test_an_entry_never_needs_more_than_65535_bytes() -> None:
    with pytest.raises(AuditEntryRefusedError, match="65375"):
        event.check_body(b"x" * 65_376)
    assert event.MAX_BODY_BYTES + event.STAMP_ROOM == 65_535


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "A" * 32),
        ("time", "2026-01-02 03:04:05"),
        ("action", "chat"),
        ("crude", "X"),
        ("phase", "other"),
        ("component", "a\nb"),
        ("patient", ""),
        ("outcome", "fine"),
        ("ip", "host name"),
        ("nonsense", 1),
    ],
)
def test_a_field_out_of_form_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(AuditEntryRefusedError, match=name):
        event.make_event(**{**FIELDS, name: value})


@pytest.mark.parametrize(
    "text",
    [
        "529.982.247-25",
        "paciente 52998224725 internado",
        "CNS 898001160660761",
        "name@example.org",
        "(11) 91234-5678",
        "line one\nline two",
        "word " * 60,
        "x" * 257,
    ],
)
def test_clinical_text_and_identifiers_are_refused_and_not_repeated(text: str) -> None:
    for fields in ({"detail": {"note": text}}, {"reason": text}, {"justification": text}):
        with pytest.raises(AuditEntryRefusedError) as caught:
            body(**fields)
        assert text[:12] not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["f" * 64, "sha256:" + "0123456789" * 6, "2026-01-02T03:04:05Z", "12345678901", "7.3.1", "ok"],
)
def test_hashes_times_versions_and_counts_are_welcome(text: str) -> None:
    assert event.check_event(body(detail={"value": text}))["detail"]["value"] == text


@pytest.mark.parametrize(
    "detail", [{"A": 1}, {"a b": 1}, {"a": [1]}, {"a": {"b": 1}}, {f"k{i}": i for i in range(49)}]
)
def test_detail_is_flat_and_bounded(detail: Any) -> None:
    with pytest.raises(AuditEntryRefusedError):
        guard.check_detail(detail)


def test_the_longest_prefix_gives_the_codes() -> None:
    assert codes_for("auth.login.console").subtype == ("110122",)
    assert codes_for("data.import").type == "110107"
    assert codes_for("unheard.of") == TABLE[""]
