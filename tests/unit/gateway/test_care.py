from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit.pseudonym import is_pseudonym, tag
from appliance.core.errors import RequestRefusedError
from appliance.gateway.care import read_care


class Names:
    """Pseudonyms under a fixed key."""

    def pseudonym(self, patient_id: str) -> str:
        return tag(b"k" * 32, 1, patient_id)


def test_nothing_said_is_nothing_logged() -> None:
    assert read_care({}, Names(), patient_needed=False).fields == {}


def test_a_patient_is_logged_under_a_pseudonym_only() -> None:
    fields = read_care({"x-patient-id": "123.456-7"}, Names(), patient_needed=True).fields
    assert is_pseudonym(str(fields["patient"]))
    assert "123" not in str(fields)


def test_an_emergency_carries_its_justification() -> None:
    said = {
        "x-patient-id": "1234567",
        "x-end-user": "dra.sintetica",
        "x-emergency-justification": quote("paciente inconsciente na sala vermelha, sem vínculo"),
    }
    fields = read_care(said, Names(), patient_needed=False).fields
    assert fields["break_glass"] is True
    assert fields["justification"] == "paciente inconsciente na sala vermelha, sem vínculo"
    assert (fields["purpose"], fields["user"]) == ("ETREAT", "dra.sintetica")


@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"x-purpose-of-use": "ETREAT", "x-patient-id": "1"}, "x-emergency-justification"),
        ({"x-emergency-justification": "risco de morte iminente"}, "x-patient-id"),
        (
            {"x-emergency-justification": "urgente", "x-patient-id": "1"},
            "x-emergency-justification",
        ),
        ({"x-purpose-of-use": "CURIOSITY"}, "x-purpose-of-use"),
        ({"x-end-user": "a b"}, "x-end-user"),
        ({"x-patient-id": "---"}, "x-patient-id"),
        ({"x-patient-id": "1" * 300}, "x-patient-id"),
        ({"x-end-user": "a%0Ab"}, "x-end-user"),
    ],
)
def test_what_cannot_be_logged_is_refused(headers: dict[str, str], named: str) -> None:
    with pytest.raises(RequestRefusedError) as caught:
        read_care(headers, Names(), patient_needed=False)
    assert caught.value.param == named


def test_where_a_patient_is_needed_none_is_refused() -> None:
    with pytest.raises(RequestRefusedError):
        read_care({}, Names(), patient_needed=True)


@given(st.dictionaries(st.sampled_from(["x-patient-id", "x-end-user"]), st.text(max_size=40)))
def test_no_header_value_crashes_or_passes_in_clear(headers: dict[str, str]) -> None:
    try:
        fields = read_care(headers, Names(), patient_needed=False).fields
    except RequestRefusedError:
        return
    patient = fields.get("patient")
    assert patient is None or is_pseudonym(patient)
