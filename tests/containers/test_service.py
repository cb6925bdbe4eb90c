"""A question goes from the network through the gateway's container into the engine's, and back."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.models.containers import Container

from appliance.bundle.images import services
from appliance.bundle.images.services import Plan
from appliance.datasets.prompt import CHAT_TEMPLATE
from tests.containers.container_support import Neighbour, prepare, toy_gguf, wait_healthy

pytestmark = pytest.mark.containers
ENGINE = (
    "[inference]\ncontext_tokens = 1024\nparallel_requests = 1\nbatch_tokens = 64\nthreads = 1\n"
)
PROMOTE = """
import json, shutil
from pathlib import Path
from appliance.audit.recorder import open_recorder
from appliance.core.clock import SystemClock
from appliance.core.home import Home
from appliance.gateway.keys import KeyStore
from appliance.registry.promotions import Approval, Verdict, promote
from appliance.registry.store import ModelStore

home = Home(Path("/var/lib/appliance"))
store = ModelStore(home)

def add(name, **links):
    with store.staging() as folder:
        (folder / "files").mkdir()
        shutil.copyfile(f"/toy/{name}.gguf", folder / "files" / "model.gguf")
        fields = {"name": "toy", "licence": "MIT", "source": "test"}
        return store.add("gguf", folder / "files", links=links, **fields).hash

base = add("base")
adapter = add("adapter", base_gguf=base)
with open_recorder(home, "cli") as recorder:
    promote(store, adapter, Verdict("e" * 64, adapter, passed=True), recorder, Approval())
key, _ = KeyStore(home, SystemClock()).create("ward-app", "app", None)
print(json.dumps({"base": base, "adapter": adapter, "key": key}))
"""


@pytest.fixture
def promoted(
    docker: DockerClient, loaded: dict[str, str], plan: Plan, tmp_path: Path
) -> dict[str, str]:
    """Register and promote a toy model, as the gateway's own user, in the gateway's image."""
    home = tmp_path / "appliance"
    prepare(home, "gateway", ENGINE)
    toy = tmp_path / "toy"
    toy.mkdir()
    maker = toy_gguf()
    maker.write_base(toy / "base.gguf", template=CHAT_TEMPLATE)
    maker.write_adapter(toy / "adapter.gguf")
    for path in (toy, *toy.iterdir()):
        path.chmod(0o755)
    options = services.container_options(plan, "trainer")  # no network, no health check
    options |= {"entrypoint": ["/usr/bin/python3"], "command": ["-c", PROMOTE], "ipc_mode": None}
    options |= {"volumes": [f"{home}:/var/lib/appliance", f"{toy}:/toy:ro"]}
    options |= {"image": loaded["gateway"], "network_mode": "none"}
    container = docker.containers.create(**options)
    try:
        container.start()
        code = container.wait(timeout=120)["StatusCode"]
        assert code == 0, container.logs().decode()[-2000:]
        found: dict[str, str] = json.loads(container.logs(stderr=False).decode().splitlines()[-1])
    finally:
        container.remove(force=True)
    return found


def test_a_question_reaches_the_engine_and_its_answer_comes_back(
    built: dict[str, dict[str, Any]],
    plan: Plan,
    promoted: dict[str, str],
    service: Callable[[str], Container],
    neighbour: Neighbour,
) -> None:
    plan.services["gateway"]["ports"] = []
    engine = service("inference")
    engine.start()
    gateway = service("gateway")
    gateway.start()
    wait_healthy(gateway, seconds=300)
    if not built["inference"]["llama_server"]:  # compiled by ./run: the wheel only
        status, text = neighbour.ask("https://gateway:8443/ready")
        assert status == 503 and "engine-unavailable" in text
        return
    url = "https://gateway:8443/v1/chat/completions"
    body = {
        "model": "hospital",
        "messages": [{"role": "user", "content": "Que horas abre a UBS?"}],
        "max_tokens": 6,
    }
    status, text = neighbour.ask(url, body, promoted["key"])
    assert status == 200, (text, gateway.logs()[-1500:], engine.logs()[-1500:])
    answer = json.loads(text)
    assert 0 < answer["usage"]["completion_tokens"] <= 6
    assert answer["choices"][0]["finish_reason"] in {"length", "stop"}
    pid = next(row for row in engine.top(ps_args="-efww")["Processes"] if "llama-server" in row[-1])
    assert promoted["adapter"] in pid[-1] and promoted["base"] in pid[-1]

    os.kill(int(pid[1]), 9)  # the engine's crash is over for the next question
    status = 0
    for _ in range(100):
        status, text = neighbour.ask(url, body, promoted["key"])
        if status == 200:
            break
        assert status == 503, text
        time.sleep(0.3)
    assert status == 200

    gateway.stop(timeout=30)
    wait_idle(engine)


def test_without_the_engine_the_gateway_lives_and_is_not_ready(
    plan: Plan,
    promoted: dict[str, str],
    service: Callable[[str], Container],
    neighbour: Neighbour,
) -> None:
    plan.services["gateway"]["ports"] = []
    gateway = service("gateway")
    gateway.start()
    wait_healthy(gateway, seconds=300)
    status, text = neighbour.ask("https://gateway:8443/ready")
    assert status == 503 and "engine-unavailable" in text, promoted
    gateway.stop(timeout=60)
    gateway.reload()
    assert gateway.attrs["State"]["ExitCode"] == 0, gateway.logs().decode()[-1000:]


def wait_idle(engine: Container) -> None:
    """Wait until no model is held: the gateway that stopped has withdrawn its wish."""
    for _ in range(300):
        if not any("llama-server" in row[-1] for row in engine.top(ps_args="-efww")["Processes"]):
            return
        time.sleep(0.1)
    pytest.fail("llama-server still runs")
