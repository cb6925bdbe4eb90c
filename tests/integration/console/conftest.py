"""A console over a real log, with four synthetic people in its four roles."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, sync_playwright
from starlette.testclient import TestClient

from appliance.audit import wire
from appliance.audit.client import connect
from appliance.audit.officer import let_sign
from appliance.audit.pseudonym import Pseudonyms
from appliance.audit.recorder import Recorder
from appliance.console import credentials
from appliance.console.accounts import Role, User
from appliance.console.app import create_app, make_console
from appliance.console.context import Console
from appliance.core.errors import ApplianceError
from appliance.core.home import Home
from appliance.core.settings import Settings

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-quic",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
PASSWORD = "um lago azul ao norte"
PEOPLE: dict[str, Role] = {
    "revisora": "reviewer",
    "oficial": "officer",
    "auditora": "auditor",
    "admin1": "administrator",
}


SAFE_S = 4  # seconds a log-in may take on a busy machine


@cache
def hashed() -> str:
    """Return the hash of the people's password, made once: argon2 takes its time on purpose."""
    return credentials.hash_password(PASSWORD)


@dataclass
class Codes:
    """Makes a code that was not used yet: the console takes each time step once."""

    secrets: dict[str, str] = field(default_factory=dict)
    steps: dict[str, int] = field(default_factory=dict)

    def code(self, name: str) -> str:
        left = credentials.STEP_S - time.time() % credentials.STEP_S
        if left < SAFE_S:  # a code from the end of a step would be too old when it arrives
            time.sleep(left)
        here = int(time.time()) // credentials.STEP_S
        step = max(here - credentials.DRIFT_STEPS, self.steps.get(name, 0) + 1)
        while step > int(time.time()) // credentials.STEP_S + credentials.DRIFT_STEPS:
            time.sleep(0.5)
        self.steps[name] = step
        return pyotp.TOTP(self.secrets[name]).generate_otp(step)


@dataclass
class World:
    """A home with a log, its console, and codes for its people."""

    password = PASSWORD  # of every account of the tests

    home: Home
    console: Console
    codes: Codes
    recorder: Recorder
    patient: str

    def client(self, name: str | None = None) -> Visitor:
        """Return a browser's twin, logged in as ``name``."""
        visitor = Visitor(TestClient(create_app(self.console), base_url="http://localhost"))
        visitor.client.follow_redirects = True
        if name is not None:
            assert visitor.login(name, self.codes.code(name)).status_code == 200
        return visitor

    def said(self, action: str) -> list[dict[str, Any]]:
        """Return the entries of one action."""
        return [e for e in self.actions() if e["action"] == action]

    def actions(self) -> list[dict[str, Any]]:
        """Return every entry of the log."""
        let_sign(self.home)
        from appliance.console.reading import reading

        with reading(self.home, self.console.settings.console) as log:
            rows = log.index.search(_everything(), limit=5000)
            return [log.index.entry(row.log, row.n) for row in reversed(rows)]


def _everything() -> Any:
    from appliance.audit.index import Filter

    return Filter()


@dataclass
class Visitor:
    """Sends forms as a page would: with the token that the page holds."""

    client: TestClient

    def login(self, name: str, code: str, password: str = PASSWORD) -> Any:
        token = hidden(self.client.get("/login").text, "pre")
        form = {"name": name, "password": password, "code": code, "pre": token}
        return self.client.post("/login", data=form)

    def get(self, path: str) -> Any:
        return self.client.get(path)

    def post(self, path: str, page: str = "/", **fields: str) -> Any:
        token = hidden(self.client.get(page).text, "csrf")
        return self.client.post(path, data={"csrf": token, **fields})


def hidden(html: str, name: str) -> str:
    """Return the value of a hidden field."""
    found = re.search(rf'name="{name}" value="([^"]*)"', html)
    assert found, f"no field {name} in the page"
    return found[1]


def stop_writer(home: Home) -> None:
    """Ask the writer of ``home`` to stop and wait until it has."""
    with contextlib.suppress(ApplianceError):
        sink = connect(home, start=False)
        pid = int(sink.ask(wire.STATUS)["pid"])
        sink.ask(wire.STOP)
        sink.close()
        for _ in range(1000):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
            except OSError:
                return
            if fields[0] == "Z":
                return
            time.sleep(0.01)


def fill(recorder: Recorder, patient: str, other: str) -> None:
    """Write a day of work: questions, refusals, two emergency accesses."""
    for number in range(12):
        with recorder.action(
            "gateway.chat",
            user=f"medico{number % 3 + 1}",
            role="clinician",
            patient=patient if number % 2 else other,
            model="sha256:" + "ab" * 32,
            object_id=f"atendimento-{number}",
            purpose="TREAT",
        ) as act:
            if number in {4, 7}:
                act.refuse("guard: outside the purpose")
    for number in range(6):
        with recorder.action(
            "gateway.chat", user="medico3", patient=other, object_id=f"recusado-{number}"
        ) as act:
            act.refuse("guard: outside the purpose")
    with recorder.action(
        "emergency.access",
        user="medico1",
        role="clinician",
        patient=patient,
        object_id="atendimento-90",
        purpose="ETREAT",
        break_glass=True,
        justification="Parada cardiorrespiratoria na sala vermelha",
    ):
        pass
    with recorder.action(
        "emergency.access",
        user="medico2",
        role="clinician",
        patient=other,
        object_id="atendimento-91",
        break_glass=True,
    ):
        pass


@pytest.fixture
def stop_log(home: Home) -> Iterator[None]:
    """Stop the log's writer when the test is over."""
    yield
    stop_writer(home)


@pytest.fixture
def world(home: Home) -> Iterator[World]:
    """A filled log and a console over it."""
    yield from make_world(home)


def make_world(home: Home, run: Callable[[], dict[str, Any]] | None = None) -> Iterator[World]:
    """Build the world and take it down again."""
    sink = connect(home)
    recorder = Recorder(sink, "gateway")
    pseudonyms = Pseudonyms(home)
    patient = pseudonyms.pseudonym("PRONT-0042")
    fill(recorder, patient, pseudonyms.pseudonym("PRONT-0043"))
    settings = Settings()
    console = make_console(home, settings, sink, run=run)
    codes = Codes()
    for name, role in PEOPLE.items():
        codes.secrets[name] = credentials.new_totp()
        sealed = console.store.sealer.seal(name, codes.secrets[name])
        console.store.add(User(name, role, password=hashed(), totp=sealed))
    let_sign(home)
    yield World(home, console, codes, recorder, patient)
    while console.verifier.running:
        time.sleep(0.02)
    sink.close()
    stop_writer(home)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()
