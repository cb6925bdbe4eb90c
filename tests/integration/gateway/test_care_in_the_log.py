"""Who asked about whom, and why: what reaches the log from an application's headers."""

from __future__ import annotations

import httpx

from appliance.audit.pseudonym import Pseudonyms
from tests.integration.gateway.conftest import Bench


def _post(bench: Bench, **headers: str) -> httpx.Response:
    return httpx.post(
        f"{bench.running.base_url}/chat/completions",
        json=bench.chat(),
        headers={"authorization": f"Bearer {bench.running.api_key}", **headers},
        timeout=30,
    )


def test_an_emergency_access_is_in_the_log_before_the_answer(bench: Bench) -> None:
    said = {"x-patient-id": "987654", "x-emergency-justification": "parada%20na%20sala%20vermelha"}
    assert _post(bench, **said).status_code == 200
    intent, outcome = [e for e in bench.recorder.events if e.action == "gateway.chat"]
    for event in (intent, outcome):
        assert event.break_glass is True
        assert event.justification == "parada na sala vermelha"
        assert event.patient == Pseudonyms(bench.home).pseudonym("987654")
    assert "987654" not in "".join(e.model_dump_json() for e in bench.recorder.events)


def test_an_emergency_without_a_reason_asks_the_model_nothing(bench: Bench) -> None:
    refused = _post(bench, **{"x-patient-id": "987654", "x-purpose-of-use": "ETREAT"})
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "x-emergency-justification"
    assert not [e for e in bench.recorder.events if e.action == "gateway.chat"]


def test_a_justification_with_an_identifier_is_refused_and_not_kept(bench: Bench) -> None:
    said = {"x-patient-id": "987654", "x-emergency-justification": "CPF 529.982.247-25 em risco"}
    assert _post(bench, **said).status_code >= 400
    assert "529" not in "".join(e.model_dump_json() for e in bench.recorder.events)
