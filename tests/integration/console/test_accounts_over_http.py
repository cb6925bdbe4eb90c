"""Accounts, sessions and log-in, over HTTP."""

from __future__ import annotations

import re
import time
from typing import Any

import pyotp
from starlette.testclient import TestClient

from appliance.console import credentials
from appliance.console.app import create_app


def test_lock_out_and_refused_attempts_are_logged_without_passwords(world: Any) -> None:
    visitor = world.client()
    for _ in range(5):
        answer = visitor.login("oficial", "000000", "errada errada errada")
        assert answer.status_code == 401
    assert visitor.login("oficial", world.codes.code("oficial")).status_code == 401
    assert visitor.login("senha digitada aqui", "000000").status_code == 401
    events = world.said("console.login")
    assert [e.get("reason") for e in events][-3:] == [
        "account locked now",
        "account locked",
        "unknown account",
    ]
    assert "user" not in events[-1]
    assert not any("errada" in str(e) or "digitada" in str(e) for e in events)


def test_an_invited_person_enrols_and_the_administrator_never_knows_the_secret(world: Any) -> None:
    admin = world.client("admin1")
    page = admin.post("/users", page="/users", name="nova.auditora", role="auditor", aliases="na1")
    found = re.search(r'id="invitation">([a-z2-7-]+)<', page.text)
    assert found
    guest = world.client()
    pre = re.search(r'name="pre" value="([^"]+)"', guest.get("/enrol").text)
    assert pre
    form = {"name": "nova.auditora", "invitation": found[1], "pre": pre[1]}
    secret = re.search(
        r'name="secret" value="([A-Z2-7]+)"', guest.client.post("/enrol", data=form).text
    )
    assert secret
    code = pyotp.TOTP(secret[1]).now()
    done = guest.client.post(
        "/enrol/finish",
        data={**form, "secret": secret[1], "password": "quatro palavras bem longas", "code": code},
    )
    assert "Cadastro feito" in done.text
    again = guest.client.post("/enrol", data=form)
    assert again.status_code == 400
    later = int(time.time()) // credentials.STEP_S + 1
    login = guest.login(
        "nova.auditora", pyotp.TOTP(secret[1]).generate_otp(later), "quatro palavras bem longas"
    )
    assert login.status_code == 200
    assert world.said("console.user_create")[-1]["object_id"] == "nova.auditora"
    assert not any(secret[1] in str(e) or found[1] in str(e) for e in world.actions())


def test_a_changed_account_loses_its_sessions_and_nobody_changes_her_own(world: Any) -> None:
    auditor, admin = world.client("auditora"), world.client("admin1")
    assert auditor.get("/").status_code == 200
    admin.post("/users/auditora", page="/users", act="disable")
    assert str(auditor.get("/").url).endswith("/login")
    answer = admin.post("/users/admin1", page="/users", act="edit", role="officer")
    assert answer.status_code == 400
    assert world.console.store.get("admin1").role == "administrator"


def test_over_tls_the_cookie_is_secure_and_strict(world: Any) -> None:
    world.console.secure = True
    client = TestClient(create_app(world.console), base_url="https://localhost")
    pre = re.search(r'name="pre" value="([^"]+)"', client.get("/login").text)
    assert pre
    form = {"name": "auditora", "password": world.password, "code": world.codes.code("auditora")}
    answer = client.post("/login", data={**form, "pre": pre[1]}, follow_redirects=False)
    assert answer.status_code == 303
    cookie = next(c for c in answer.headers.get_list("set-cookie") if "session" in c)
    assert cookie.startswith("__Host-session=")
    for part in ("HttpOnly", "Secure", "SameSite=strict", "Path=/"):
        assert part in cookie
    assert "Domain" not in cookie
    assert "max-age" in answer.headers["strict-transport-security"]


def test_a_log_in_form_of_another_browser_is_refused(world: Any) -> None:
    one, two = world.client(), world.client()
    pre = re.search(r'name="pre" value="([^"]+)"', one.get("/login").text)
    assert pre
    two.get("/login")
    form = {"name": "auditora", "password": world.password, "code": world.codes.code("auditora")}
    assert two.client.post("/login", data={**form, "pre": pre[1]}).status_code == 403


def test_a_foreign_host_name_is_refused(world: Any) -> None:
    client = TestClient(create_app(world.console), base_url="http://rebind.example")
    assert client.get("/login").status_code == 400
