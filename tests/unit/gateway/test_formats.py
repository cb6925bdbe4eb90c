from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from appliance.core.errors import (
    AccessDeniedError,
    ApplianceError,
    QueueFullError,
    RequestRefusedError,
    all_errors,
)
from appliance.core.settings.gateway import GatewaySettings
from appliance.gateway.client import as_appliance_error
from appliance.gateway.openai_format import DONE, Envelope, Usage, error_body, event, status_of
from appliance.gateway.requests import allowed_hosts, check_host, host_name
from appliance.gateway.schema import parse_chat
from appliance.inference.sse import events

ENVELOPE = Envelope("chat", "id", 1, "m")
ASKED = {"model": "m", "messages": [{"role": "user", "content": "Oi"}]}


@given(st.text())
def test_an_event_is_one_line_whatever_the_text(text: str) -> None:
    framed = ENVELOPE.piece(text)
    assert framed.count(b"\n") == 2
    assert framed.endswith(b"\n\n")
    (value,) = events(framed.decode().splitlines())
    assert value["choices"][0]["delta"]["content"] == text


@given(st.lists(st.text(min_size=1), max_size=6))
def test_a_stream_reads_back_as_the_text(pieces: list[str]) -> None:
    data = b"".join(map(ENVELOPE.piece, pieces)) + ENVELOPE.closing("stop") + DONE
    values = list(events(data.decode().split("\n")))
    assert "".join(v["choices"][0]["delta"].get("content", "") for v in values) == "".join(pieces)
    assert values[-1]["choices"][0]["finish_reason"] == "stop"


def test_line_separators_of_unicode_do_not_break_a_frame() -> None:
    assert b"\xe2\x80\xa8" not in event({"a": "\u2028\u2029\x85"})


def test_usage_adds_up() -> None:
    assert Usage(2, 3).to_dict()["total_tokens"] == 5


@pytest.mark.parametrize("cls", [c for c in all_errors() if c is not RequestRefusedError])
def test_every_error_has_openais_shape(cls: type[ApplianceError]) -> None:
    error = cls(expected="a", found="b")
    body = error_body(error)["error"]
    assert body["code"] == cls.id
    assert 400 <= status_of(error) < 600


def test_types_follow_the_status() -> None:
    assert error_body(AccessDeniedError(expected="a", found="b"))["error"]["type"] == (
        "authentication_error"
    )
    assert error_body(QueueFullError(expected="a", found="b"))["error"]["type"] == (
        "rate_limit_error"
    )


def test_a_refusal_is_known_again_by_the_client() -> None:
    sent = json.loads(json.dumps(error_body(QueueFullError(expected="a", found="b"))))
    assert isinstance(as_appliance_error(sent), QueueFullError)
    refused = error_body(RequestRefusedError(expected="a", found="b", param="n"))
    assert isinstance(as_appliance_error(refused), RequestRefusedError)
    assert as_appliance_error({"error": {"code": "unheard-of"}}).id == "gateway-unreachable"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:80", "localhost"),
        ("LOCALHOST", "localhost"),
        ("[::1]:8080", "::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("evil.example:80", "evil.example"),
        ("", ""),
    ],
)
def test_the_name_in_a_host_header(header: str, name: str) -> None:
    assert host_name(header) == name


def test_two_host_headers_are_refused() -> None:
    allowed = allowed_hosts(GatewaySettings())
    check_host([(b"host", b"localhost")], allowed)
    for headers in ([], [(b"host", b"localhost"), (b"host", b"evil.example")]):
        with pytest.raises(RequestRefusedError):
            check_host(headers, allowed)


@given(
    st.dictionaries(
        st.text(),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
        max_size=5,
    )
)
def test_any_json_is_taken_or_refused_never_an_accident(extra: dict[str, object]) -> None:
    body = json.dumps({**extra, **ASKED}).encode()
    try:
        taken = parse_chat(body)
    except RequestRefusedError:
        return
    assert set(extra) - set(ASKED) <= set(type(taken).model_fields)


def test_listening_beyond_loopback_needs_tls_and_named_hosts() -> None:
    with pytest.raises(ValidationError, match="tls_certificate"):
        GatewaySettings(host="0.0.0.0")  # noqa: S104 - what is refused


def test_max_completion_tokens_comes_before_max_tokens() -> None:
    body = json.dumps({**ASKED, "max_tokens": 5, "max_completion_tokens": 7}).encode()
    assert parse_chat(body).sampling(GatewaySettings()).max_tokens == 7
