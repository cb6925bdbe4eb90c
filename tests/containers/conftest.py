"""A Docker engine (the machine's own, else one started here), and the images, built once."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.errors import DockerException
from docker.models.containers import Container

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from appliance.bundle.images import engine, services
from appliance.bundle.images.build import Builder, Options
from appliance.bundle.images.llama import LlamaBuilder, complete
from appliance.bundle.images.recipe import load_defaults
from appliance.bundle.images.services import Plan
from appliance.bundle.images.wheels import WheelHouse
from tests.containers.container_support import CACHE, RECIPES, ROOT, Neighbour, archive

START_S = 60
PARTS = "APPLIANCE_LLAMA_PARTS"  # a folder with llama-server and the wheel, compiled elsewhere


def _answers(url: str | None = None) -> DockerClient | None:
    try:
        client = DockerClient(base_url=url, timeout=300) if url else DockerClient.from_env()
        client.ping()
    except DockerException:
        return None
    return client


def _start(folder: Path) -> Iterator[DockerClient]:
    dockerd = shutil.which("dockerd")
    if dockerd is None or os.geteuid() != 0:
        pytest.fail("expected a Docker engine, or dockerd and root to start one")
    url = f"unix://{folder}/docker.sock"
    command = [dockerd, "--host", url, "--data-root", f"{folder}/data"]
    command += ["--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    if subprocess.run(["iptables", "-L", "-n"], capture_output=True, check=False).returncode != 0:
        command += ["--iptables=false", "--bridge=none"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as d:
        try:
            deadline = time.monotonic() + START_S
            while (client := _answers(url)) is None:
                if d.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"dockerd did not start: {(folder / 'log').read_text()[-600:]}")
                time.sleep(0.2)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("DOCKER_HOST", url)  # for the product's own clients
                yield client
            client.close()
        finally:
            d.terminate()


@pytest.fixture(scope="session")
def docker() -> Iterator[DockerClient]:
    """A client of an engine that answers."""
    own = os.environ.get("APPLIANCE_TEST_OWN_DOCKERD")
    client = None if own else _answers()
    if client is not None:
        yield client
        client.close()
        return
    # A short path: the engine's sockets lie in it, and a socket's name has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="dockerd-") as folder:
        yield from _start(Path(folder))


def _llama_parts() -> Path | None:
    """Return compiled parts to take; ``None`` lets the builder take its own or compile."""
    if named := os.environ.get(PARTS):
        return Path(str(named))
    defaults = load_defaults(RECIPES)
    house = WheelHouse(CACHE, RECIPES / "locks", defaults.python)
    own = LlamaBuilder(RECIPES, CACHE, house, defaults, defaults.source_date_epoch)
    wheels = ROOT / ".run" / "wheels"
    same = platform.freedesktop_os_release().get("VERSION_ID") == "12"
    if not complete(CACHE / "llama" / own.key()) and same and any(wheels.glob("llama_cpp*.whl")):
        return wheels  # compiled by ./run on the release the images are made of
    return None


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent as it is now: a change while the tests run must not look like chance."""
    folder = tmp_path_factory.mktemp("agent") / "appliance"
    shutil.copytree(ROOT / "appliance", folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.fixture(scope="session")
def builder(agent: Path) -> Builder:
    """The builder, with its layers kept between runs."""
    return Builder(Options(RECIPES, CACHE, CACHE / "test", llama=_llama_parts(), agent=agent))


@pytest.fixture(scope="session")
def built(builder: Builder) -> dict[str, dict[str, Any]]:
    """The descriptions of the images under test."""
    return {name: builder.build(name) for name in ("base", "gateway", "console", "inference")}


@pytest.fixture(scope="session")
def loaded(docker: DockerClient, built: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The images in the engine: name to reference."""
    for name in built:
        engine.load(docker, archive(name))
    return {name: description["reference"] for name, description in built.items()}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """The compose file, for this test's own state."""
    home = tmp_path / "appliance"
    (home / "models").mkdir(parents=True)
    for path in (tmp_path, home, home / "models"):
        path.chmod(0o755)
    os.chown(home, 10001, 10000)
    variables = {
        "APPLIANCE_HOME": str(home),
        "APPLIANCE_INFERENCE_MEMORY": "1g",
        "APPLIANCE_GATEWAY_MEMORY": "1g",
        "APPLIANCE_SECURITY": str(ROOT / "security"),
    }
    found = services.read_plan(RECIPES / "compose.yaml", variables)
    return Plan(
        f"apptest{os.getpid()}", found.services, found.networks, found.volumes, found.folder
    )


@pytest.fixture
def run_hardened(
    docker: DockerClient, loaded: dict[str, str], plan: Plan
) -> Iterator[Callable[..., tuple[int, str]]]:
    """Run Python text in the base image under the compose file's hardening."""
    made: list[Container] = []

    def run(text: str, **changes: Any) -> tuple[int, str]:
        options = services.container_options(plan, "trainer")  # no network, no health check
        options |= {"image": loaded["base"], "command": ["-c", text], "volumes": []}
        options |= {"network_mode": "none"} | changes
        container = docker.containers.create(**options)
        made.append(container)
        container.start()
        code = int(container.wait(timeout=120)["StatusCode"])
        return code, container.logs().decode()

    yield run
    for container in made:
        container.remove(force=True)


@pytest.fixture
def service(
    docker: DockerClient, loaded: dict[str, str], plan: Plan
) -> Iterator[Callable[[str], Container]]:
    """Create (not start) a service of the compose file; all is removed afterwards."""

    def make(name: str) -> Container:
        return services.create(docker, plan, name)

    yield make
    services.down(docker, plan)
    for volume in plan.volumes:
        for found in docker.volumes.list(filters={"name": f"{plan.project}_{volume}"}):
            found.remove(force=True)


@pytest.fixture
def neighbour(
    docker: DockerClient, loaded: dict[str, str], plan: Plan, tmp_path: Path
) -> Neighbour:
    """One who asks the services from beside them."""
    ca = tmp_path / "appliance" / "tls.pem"
    return Neighbour(docker, loaded["base"], f"{plan.project}_inside", ca)
