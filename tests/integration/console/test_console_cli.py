"""The command line: first accounts, serving, refusing to send passwords in clear."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.request
from typing import Any

import pyotp
import pytest

from appliance.audit.index import Filter, Index
from appliance.audit.officer import let_sign
from appliance.core.home import Home

APPLIANCE = [sys.executable, "-m", "appliance.cli.main"]


@pytest.fixture
def run(home: Home, stop_log: Any) -> Any:
    def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*APPLIANCE, "--home", str(home.root), "console", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return command


def test_the_first_administrator_and_the_list(run: Any) -> None:
    add = ["user", "add", "admin1", "--role", "administrator", "--password-stdin", "--json"]
    done = run(*add, stdin="um lago azul ao norte\n")
    assert done.returncode == 0, done.stderr
    value = json.loads(done.stdout)
    assert pyotp.parse_uri(value["totp_uri"]).name == "admin1"
    again = run(*add, stdin="um lago azul ao norte\n")
    assert again.returncode == 120
    listed = json.loads(run("user", "list", "--json").stdout)
    assert listed["users"] == [
        {"user": "admin1", "role": "administrator", "enrolled": True, "disabled": False}
    ]
    secret = pyotp.parse_uri(value["totp_uri"]).secret
    assert secret not in run("user", "list", "--json").stdout
    assert run("user", "unlock", "admin1").returncode == 0
    assert run("user", "unlock", "nobody").returncode == 120


def test_a_weak_password_makes_no_account(run: Any) -> None:
    done = run("user", "add", "ana", "--role", "reviewer", "--password-stdin", stdin="short\n")
    assert done.returncode == 120
    assert "short" not in done.stderr
    assert json.loads(run("user", "list", "--json").stdout)["users"] == []


def test_it_does_not_serve_passwords_in_clear(run: Any) -> None:
    done = run("serve", "--host", "0.0.0.0", "--port", "0")  # noqa: S104 - what must be refused
    assert done.returncode == 123
    assert "TLS" in done.stderr


def test_it_serves_until_it_is_told_to_stop(home: Home, stop_log: Any) -> None:
    process = subprocess.Popen(
        [*APPLIANCE, "--home", str(home.root), "console", "serve", "--port", "0", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        assert url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(f"{url}login", timeout=60) as answer:
            assert "server" not in answer.headers
            assert "Entrar" in answer.read().decode()
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
    assert process.returncode == 0
    let_sign(home)
    with Index(home.audit) as index:
        actions = [row.action for row in index.search(Filter(action="console.*"))]
    assert actions == ["console.stopped", "console.started"]
