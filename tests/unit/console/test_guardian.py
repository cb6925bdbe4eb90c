"""The wrapper before every page."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from appliance.console.guardian import Guardian
from appliance.console.server import check_secure
from appliance.core.errors import ConsoleInsecureError


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = await Request(scope, receive).body()
    answer: Response = PlainTextResponse(str(len(body)))
    await answer(scope, receive, send)


def client(*, secure: bool = False) -> TestClient:
    return TestClient(
        Guardian(echo, max_body_bytes=100, secure=secure), base_url="http://localhost"
    )


def test_every_answer_carries_the_policy_and_is_not_kept() -> None:
    headers = client().get("/x").headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert "strict-transport-security" not in headers
    assert "strict-transport-security" in client(secure=True).get("/x").headers


def test_a_body_beyond_the_limit_is_refused() -> None:
    assert client().post("/x", content=b"a" * 100).text == "100"
    assert client().post("/x", content=b"a" * 101).status_code == 413
    assert client().post("/x", content=iter([b"a" * 60, b"a" * 60])).status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://elsewhere.example"},
    ],
)
def test_forms_of_other_sites_are_refused(headers: dict[str, str]) -> None:
    assert client().post("/x", headers=headers).status_code == 403


def test_forms_of_its_own_pass() -> None:
    headers = {"sec-fetch-site": "same-origin", "origin": "http://localhost"}
    assert client().post("/x", headers=headers).status_code == 200


def test_beyond_loopback_only_with_tls(tmp_path: Path) -> None:
    assert check_secure("127.0.0.1", None, None) is False
    with pytest.raises(ConsoleInsecureError):
        check_secure("0.0.0.0", None, None)  # noqa: S104 - what must be refused
    pem = tmp_path / "a.pem"
    with pytest.raises(ConsoleInsecureError):
        check_secure("127.0.0.1", pem, None)
    with pytest.raises(ConsoleInsecureError):
        check_secure("10.0.0.1", pem, pem)
    pem.write_text("x")
    assert check_secure("10.0.0.1", pem, pem) is True
