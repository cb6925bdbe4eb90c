"""Attacks and failures, by name; each must be refused, in OpenAI's shape, and leave no trace."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.clock import SystemClock
from appliance.core.errors import AuditUnavailableError, ModelNotPromotedError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.gateway.keys import KeyStore
from appliance.gateway.server import Sources
from appliance.gateway.service import running_gateway
from appliance.inference.memory import MemoryEngine

if TYPE_CHECKING:
    from conftest import Bench, Start  # type: ignore[import-not-found]  # pytest's own conftest


def _refused(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == code
    assert set(error) == {"message", "type", "param", "code"}
    return error


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_discard", -5),
        ("chat_template", "{{ ''.__class__ }}"),
        ("chat_template_kwargs", {"a": 1}),
        ("prompt_embeds", "AAAA"),
        ("cache_prompt", True),
        ("id_slot", 0),
        ("lora", [{"id": 0, "scale": 9}]),
        ("tools", []),
        ("extra_body", {}),
        ("grammar", "root ::= [a-z]"),
        ("logit_bias", {"1": 100}),
        ("__proto__", {}),
    ],
)
def test_unknown_field_and_template_parameter_injection(
    shared: Bench, name: str, value: object
) -> None:
    error = _refused(shared.post(shared.chat(**{name: value})), 400, "request-refused")
    assert error["param"] == name
    assert shared.engine.seen == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", -1),
        ("n", 2),
        ("n", True),
        ("max_tokens", -1),
        ("max_tokens", 0),
        ("max_tokens", 10**9),
        ("max_tokens", "5"),
        ("temperature", -0.1),
        ("temperature", 1e308),
        ("top_p", 0),
        ("seed", -1),
        ("stop", ["a"] * 5),
        ("stop", "x" * 65),
        ("stop", ""),
        ("stream", "yes"),
        ("model", ""),
        ("messages", []),
        ("messages", [{"role": "tool", "content": "x"}]),
        ("messages", [{"role": "assistant", "content": "x"}]),
        ("messages", [{"role": "user", "content": None}]),
        ("messages", [{"role": "user", "content": "x", "name": "root"}]),
    ],
)
def test_negative_huge_and_mistyped_values(shared: Bench, name: str, value: object) -> None:
    _refused(shared.post(shared.chat(**{name: value})), 400, "request-refused")
    assert shared.engine.seen == []


def test_image_url_that_would_be_fetched(shared: Bench) -> None:
    part = {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}}
    _refused(
        shared.post(shared.chat(messages=[{"role": "user", "content": [part]}])),
        400,
        "request-refused",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": "zarabatana"},
        {"model": "zarabatana"},
        {"messages": [{"role": "user", "content": {"zarabatana": 1}}]},
        {"messages": [{"role": "zarabatana", "content": "x"}]},
        {"Zarabatana tem febre": 1},
    ],
)
def test_a_refusal_does_not_repeat_what_was_sent(shared: Bench, fields: dict[str, Any]) -> None:
    response = shared.post(shared.chat(**fields))
    assert response.status_code in {400, 404}
    assert "arabatana" not in response.text


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b'{"model": NaN}', b"[" * 100_000]
)
def test_broken_json(shared: Bench, body: bytes) -> None:
    headers = {
        "authorization": f"Bearer {shared.running.api_key}",
        "content-type": "application/json",
    }
    url = f"{shared.running.base_url}/chat/completions"
    _refused(httpx.post(url, content=body, headers=headers), 400, "request-refused")


def test_a_form_from_a_web_page(shared: Bench) -> None:
    headers = {"authorization": f"Bearer {shared.running.api_key}", "content-type": "text/plain"}
    url = f"{shared.running.base_url}/chat/completions"
    _refused(httpx.post(url, content=b"{}", headers=headers), 415, "request-refused")


def test_huge_body_declared_and_undeclared(start: Start) -> None:
    bench = start(max_body_bytes=2048)
    text = "x" * 4096
    body = bench.chat(messages=[{"role": "user", "content": text}])
    _refused(bench.post(body), 413, "request-refused")
    headers = {
        "authorization": f"Bearer {bench.running.api_key}",
        "content-type": "application/json",
    }
    chunks = iter([json.dumps(body).encode()])  # no content-length: sent in chunks
    url = f"{bench.running.base_url}/chat/completions"
    _refused(httpx.post(url, content=chunks, headers=headers), 413, "request-refused")
    assert bench.engine.seen == []


def test_a_body_that_trickles_in(start: Start) -> None:
    bench = start(body_timeout_s=0.2)
    host, port = bench.root.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sock:
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
            f"Authorization: Bearer {bench.running.api_key}\r\n"
            "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        sock.sendall(head.encode())
        assert b" 408 " in sock.recv(4096)


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", ""]
)
def test_foreign_host_header(shared: Bench, host: str) -> None:
    headers = {"authorization": f"Bearer {shared.running.api_key}", "host": host}
    _refused(httpx.get(f"{shared.root}/v1/models", headers=headers), 421, "request-refused")
    assert httpx.get(f"{shared.root}/health", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer x", "Basic YTpi", "Bearer sk-00000000-" + "A" * 43],
)
def test_missing_and_wrong_key(shared: Bench, authorization: str | None) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    url = f"{shared.running.base_url}/chat/completions"
    _refused(httpx.post(url, json=shared.chat(), headers=headers), 401, "access-denied")
    assert shared.engine.seen == []


def test_revoked_key_is_refused_at_once(bench: Bench) -> None:
    keys = KeyStore(bench.home, SystemClock())
    key, record = keys.create("ward-app", "app")
    headers = {"authorization": f"Bearer {key}"}
    url = f"{bench.running.base_url}/models"
    assert httpx.get(url, headers=headers).status_code == 200
    keys.revoke(record.id)
    _refused(httpx.get(url, headers=headers), 401, "access-denied")


def test_a_role_does_not_reach_further_than_it_may(bench: Bench) -> None:
    key, _ = KeyStore(bench.home, SystemClock()).create("scraper", "monitor")
    headers = {"authorization": f"Bearer {key}"}
    assert httpx.get(f"{bench.root}/metrics", headers=headers).status_code == 200
    url = f"{bench.running.base_url}/chat/completions"
    _refused(httpx.post(url, json=bench.chat(), headers=headers), 401, "access-denied")


@pytest.mark.parametrize(
    "path", ["/docs", "/openapi.json", "/slots", "/props", "/lora-adapters", "/v1/files", "/"]
)
def test_routes_that_must_not_exist(shared: Bench, path: str) -> None:
    _refused(httpx.get(f"{shared.root}{path}"), 404, "request-refused")


def test_log_unavailable_means_no_answer(bench: Bench) -> None:
    bench.recorder.break_log()
    _refused(bench.post(bench.chat()), 503, "audit-unavailable")
    assert bench.engine.seen == []


def test_log_lost_during_an_answer_means_no_complete_answer(start: Start) -> None:
    gate = threading.Semaphore(0)
    bench = start(MemoryEngine(answer=lambda _: "Uma frase. Outra.", gate=gate))
    body = bench.chat(stream=True)
    headers = {"authorization": f"Bearer {bench.running.api_key}"}
    url = f"{bench.running.base_url}/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=30) as response:
        lines = response.iter_lines()
        next(lines)
        bench.recorder.break_log()
        gate.release(100)
        rest = list(lines)
    assert "data: [DONE]" not in rest
    assert any('"audit-unavailable"' in line for line in rest)


def test_model_not_promoted(bench: Bench) -> None:
    bench.promoted.hash = None
    _until(lambda: bench.post(bench.chat()).status_code == 503)
    _refused(bench.post(bench.chat()), 503, "model-not-promoted")
    assert httpx.get(f"{bench.root}/ready").json()["reason"] == "model-not-promoted"
    assert not bench.engine.alive


def test_log_of_promotions_unreadable(bench: Bench) -> None:
    bench.promoted.error = AuditUnavailableError(expected="the log", found="nothing")
    _until(lambda: bench.post(bench.chat()).status_code == 503)
    _refused(bench.post(bench.chat()), 503, "audit-unavailable")


def test_a_roll_back_switches_the_model(bench: Bench) -> None:
    bench.promoted.hash = "d" * 64
    _until(lambda: bench.loaded[-1] == "d" * 64)
    _until(lambda: bench.client().models.list().data[0].id == "d" * 64)
    _refused(bench.post(bench.chat(model="a" * 64)), 404, "request-refused")


class _NothingPromoted:
    def current_hash(self) -> str | None:
        return None


def test_a_gateway_without_a_promotion_does_not_start_for_the_demo(home: Home) -> None:
    sources = Sources(_NothingPromoted(), lambda _: MemoryEngine())
    with (
        pytest.raises(ModelNotPromotedError),
        running_gateway(home, Settings(), MemoryRecorder("gateway"), sources),
    ):
        pass


def test_full_queue_and_greedy_principal(start: Start) -> None:
    gate = threading.Semaphore(0)
    bench = start(MemoryEngine(gate=gate), queue_requests=1, queue_per_principal=2)
    other, _ = KeyStore(bench.home, SystemClock()).create("other-app", "app")
    held = [threading.Thread(target=bench.post, args=(bench.chat(),)) for _ in range(2)]
    for thread in held:
        thread.start()
    key = {"authorization": f"Bearer {bench.running.api_key}"}

    def waiting() -> str:
        return httpx.get(f"{bench.root}/metrics", headers=key).text

    _until(lambda: "appliance_num_requests_waiting 1.0" in waiting())
    greedy = bench.post(bench.chat())
    url = f"{bench.running.base_url}/chat/completions"
    full = httpx.post(url, json=bench.chat(), headers={"authorization": f"Bearer {other}"})
    _refused(greedy, 429, "queue-full")
    _refused(full, 429, "queue-full")
    assert full.headers["retry-after"] == "2"
    gate.release(10_000)
    for thread in held:
        thread.join()


def test_an_answer_that_takes_too_long(start: Start) -> None:
    gate = threading.Semaphore(3)
    bench = start(MemoryEngine(gate=gate), request_timeout_s=0.3)
    threading.Timer(1.0, gate.release, (10_000,)).start()
    _refused(bench.post(bench.chat()), 504, "request-timeout")
    assert bench.recorder.events[-1].reason == "request-timeout"


@pytest.mark.parametrize("stream", [True, False])
def test_disconnect_stops_generation(start: Start, stream: bool) -> None:  # noqa: FBT001 - parametrized
    gate = threading.Semaphore(0)
    engine = MemoryEngine(answer=lambda _: "x" * 100_000, gate=gate)
    bench = start(engine, max_tokens=100_000)
    host, port = bench.root.removeprefix("http://").split(":")
    body = json.dumps(bench.chat(stream=stream, max_tokens=100_000)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {host}\r\n"
        f"Authorization: Bearer {bench.running.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port))) as sock:
        sock.sendall(head.encode() + body)
        _until(lambda: len(engine.seen) == 1)
        gate.release(5)
        _until(lambda: engine.drawn == 5)

    def allow_one_more_until_the_outcome() -> bool:
        # token by token: how many fit between the closed socket and the loop's reading it is the
        # scheduler's business, that the rest of the 100,000 is never drawn is the gateway's
        gate.release()
        return bool(bench.recorder.events[-1].phase == "outcome")

    _until(allow_one_more_until_the_outcome)
    outcome = bench.recorder.events[-1]
    assert (outcome.outcome, outcome.reason) == ("failure", "client-gone")
    drawn = engine.drawn
    gate.release(100_000)
    time.sleep(0.3)
    assert engine.drawn == drawn < 50_000


def test_running_answers_end_while_new_ones_are_refused_on_drain(start: Start) -> None:
    gate = threading.Semaphore(0)
    bench = start(MemoryEngine(gate=gate))
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(bench.post(bench.chat())))
    thread.start()
    _until(lambda: len(bench.engine.seen) == 1)
    assert bench.running.server is not None
    bench.running.server.drain()
    gate.release(1000)
    thread.join()
    assert answers[0].status_code == 200
    assert bench.engine.drawn == len("Que horas abre?")


def _until(true: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if true():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen")
