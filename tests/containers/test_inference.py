"""The engine's container: proven weights in, answers on a Unix socket, no network at all."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from docker.models.containers import Container

from appliance.bundle.images.services import Plan
from tests.containers.container_support import toy_model, wait_healthy

pytestmark = pytest.mark.containers
SMALL = {"context_tokens": 256, "parallel_requests": 1, "batch_tokens": 64, "threads": 1}
EMBEDDED = (
    "from llama_cpp import Llama\n"
    "m = Llama('/models/toy.gguf', n_ctx=128, n_threads=1, verbose=False)\n"
    "print(len(m.tokenize(b'dor')), m('dor', max_tokens=4)['usage']['completion_tokens'])\n"
)


@pytest.fixture
def folder(plan: Plan, tmp_path: Path) -> Path:
    """The shared folder, and a model."""
    engine = tmp_path / "engine"
    engine.mkdir()
    os.chown(engine, 10002, 10000)
    engine.chmod(0o770)
    plan.services["inference"]["volumes"] = [
        f"{tmp_path}/appliance/models:/models:ro",
        f"{engine}:/run/engine",
    ]
    toy_model(tmp_path / "appliance" / "models" / "toy.gguf").chmod(0o644)
    return engine


@pytest.fixture
def engine(folder: Path, service: Callable[[str], Container]) -> Container:
    container = service("inference")
    container.start()
    wait_healthy(container)
    return container


def want(folder: Path, **value: Any) -> None:
    """Ask for a model as the gateway does: written aside, then put in place."""
    aside = folder / ".wanted"
    aside.write_text(json.dumps(value), encoding="utf-8")
    aside.chmod(0o640)
    os.chown(aside, 10001, 10000)
    aside.rename(folder / "wanted.json")


def state(folder: Path, *wanted: str, seconds: float = 120) -> dict[str, Any]:
    """Wait for one of the wanted states."""
    deadline = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if found["state"] in wanted:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_is_idle_and_healthy_until_a_model_is_wanted(folder: Path, engine: Container) -> None:
    assert state(folder, "idle")["state"] == "idle"
    assert engine.attrs["HostConfig"]["NetworkMode"] == "none"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"base_sha256": "0" * 64}, "model-hash-mismatch"),
        ({"base": "../../etc/passwd"}, "wanted.json: ValidationError"),
        ({"base": "/etc/passwd"}, "wanted.json: ValidationError"),
        ({"inference": {"unknown": 1}}, "wanted.json: ValidationError"),
        ({"server": "/tmp/x"}, "wanted.json: ValidationError"),
    ],
)
def test_a_model_that_is_not_the_registered_one_is_refused(
    folder: Path, engine: Container, tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    model = tmp_path / "appliance" / "models" / "toy.gguf"
    want(folder, **{"base": "toy.gguf", "base_sha256": digest(model)} | change)
    found = state(folder, "refused")
    assert found["reason"] == reason
    assert not (folder / "engine.sock").exists()


def test_the_wheel_answers_inside(engine: Container) -> None:
    code, output = engine.exec_run(["/usr/bin/python3", "-c", EMBEDDED])
    assert isinstance(output, bytes)
    assert code == 0, output.decode()[-1000:]
    tokens, drawn = output.decode().split()
    assert int(tokens) > 0 and int(drawn) > 0


def test_it_serves_the_wanted_model_and_survives_a_crash(
    folder: Path, engine: Container, tmp_path: Path, built: dict[str, dict[str, Any]]
) -> None:
    model = tmp_path / "appliance" / "models" / "toy.gguf"
    want(folder, base="toy.gguf", base_sha256=digest(model), inference=SMALL)
    if not built["inference"]["llama_server"]:  # compiled by ./run: the wheel only
        assert state(folder, "refused")["reason"] == "tool-missing"
        return
    assert state(folder, "started")["base_sha256"] == digest(model)
    wait_answer(folder)
    wait_healthy(engine)
    pid = next(
        row for row in engine.top(ps_args="-efww")["Processes"] if "llama-server" in row[-1]
    )[1]
    os.kill(int(pid), 9)
    time.sleep(1)
    wait_answer(folder)
    want(folder, base="toy.gguf", base_sha256="1" * 64)
    assert state(folder, "refused")["reason"] == "model-hash-mismatch"
    assert not (folder / "engine.sock").exists()


def wait_answer(folder: Path) -> None:
    """Ask for four tokens until they come."""
    transport = httpx.HTTPTransport(uds=str(folder / "engine.sock"))
    deadline = time.monotonic() + 120
    with httpx.Client(transport=transport, base_url="http://engine") as client:
        while True:
            try:
                body = {"prompt": [1, 300, 301], "n_predict": 4, "ignore_eos": True}
                answer = client.post("/completion", json=body, timeout=60)
                if answer.status_code == 200:
                    assert answer.json()["tokens_predicted"] == 4
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_it_stops_at_once_when_told(engine: Container) -> None:
    engine.stop(timeout=20)
    engine.reload()
    assert engine.attrs["State"]["ExitCode"] == 0
