"""No container gets out: shown against a small world behind this machine, reached by a control."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from docker import DockerClient
from docker.models.containers import Container

from appliance.bundle.images.services import Plan

pytestmark = [pytest.mark.containers, pytest.mark.root]
# Addresses for documentation (RFC 5737): they are nowhere else.
HERE, THERE, PORT = "198.51.100.1", "198.51.100.2", 8099
LISTEN = (
    "import socket, sys\n"
    f"s = socket.create_server(('{THERE}', {PORT}))\n"
    "print('ready', flush=True)\n"
    "while True:\n"
    "    s.accept()[0].close()\n"
)
CALL = (
    "import socket\n"
    "try:\n"
    f"    socket.create_connection(('{THERE}', {PORT}), timeout=4).close(); print('reached')\n"
    "except OSError as error:\n"
    "    print('cut off')\n"
)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def world() -> Iterator[str]:
    """A name space that stands for everything outside: it answers this machine's own address."""
    name = f"world{os.getpid() % 10000}"
    ip("netns", "add", name)
    try:
        ip("link", "add", f"{name}a", "type", "veth", "peer", "name", f"{name}b", "netns", name)
        ip("address", "add", f"{HERE}/24", "dev", f"{name}a")
        ip("link", "set", f"{name}a", "up")
        ip("-n", name, "address", "add", f"{THERE}/24", "dev", f"{name}b")
        ip("-n", name, "link", "set", f"{name}b", "up")
        ip("-n", name, "link", "set", "lo", "up")
        command = ["ip", "netns", "exec", name, sys.executable, "-c", LISTEN]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as listener:
            assert listener.stdout is not None
            assert listener.stdout.readline() == b"ready\n"
            yield THERE
            listener.kill()
    finally:
        ip("netns", "delete", name)


def reach(docker: DockerClient, image: str, network: str) -> str:
    answer = docker.containers.run(image, ["-c", CALL], network=network, remove=True)
    return answer.decode().strip()


def test_containers_on_the_appliances_networks_are_cut_off(
    docker: DockerClient,
    loaded: dict[str, str],
    plan: Plan,
    service: Callable[[str], Container],
    world: str,
) -> None:
    plan.services["gateway"]["ports"] = []
    service("gateway")  # makes both networks
    name = f"{plan.project}_ordinary"
    ordinary = docker.networks.create(name, driver="bridge")
    try:
        assert reach(docker, loaded["base"], name) == "reached"
    finally:
        ordinary.remove()
    assert reach(docker, loaded["base"], f"{plan.project}_inside") == "cut off"
    assert reach(docker, loaded["base"], f"{plan.project}_lan") == "cut off"
