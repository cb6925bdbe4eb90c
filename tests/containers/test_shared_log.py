"""Gateway and console, two containers on one state: one writer of the log, and both record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient
from docker.models.containers import Container

from appliance.bundle.images import services
from appliance.bundle.images.services import Plan
from tests.containers.container_support import prepare, wait_healthy

pytestmark = pytest.mark.containers
WRITER = ["/usr/bin/python3", "-m", "appliance.audit.writer", "--home", "/var/lib/appliance"]
WRITER += ["--stay"]  # as the host's service does
BOTH = (
    "[console]\n"
    'allowed_hosts = ["console"]\n'
    'tls_certificate = "/var/lib/appliance/tls.pem"\n'
    'tls_key = "/var/lib/appliance/tls.key"\n'
)


def writers(*containers: Container) -> list[str]:
    """Return the names of the containers that a writer runs in."""
    return [
        str(container.name)
        for container in containers
        for row in container.top(ps_args="-efww")["Processes"]
        if "appliance.audit.writer" in row[-1]
    ]


def command(docker: DockerClient, plan: Plan, image: str, *arguments: str) -> dict[str, Any]:
    """Run one of the agent's commands on the state, in a container without a network."""
    options = services.container_options(plan, "gateway")
    options |= {"image": image, "command": [*arguments, "--json"], "ports": {}}
    options |= {"network_mode": "none", "healthcheck": {"test": ["NONE"]}}
    options["volumes"] = [v for v in options["volumes"] if "/run/engine" not in v]
    container = docker.containers.create(**options)
    try:
        container.start()
        code = container.wait(timeout=120)["StatusCode"]
        assert code == 0, container.logs().decode()[-2000:]
        found: dict[str, Any] = json.loads(container.logs(stderr=False))
    finally:
        container.remove(force=True)
    return found


def wait_for(path: Path, container: Container) -> None:
    """Wait until the writer listens."""
    for _ in range(300):
        if path.exists():
            return
        time.sleep(0.1)
    pytest.fail(container.logs().decode()[-2000:])


def test_both_record_through_the_one_writer(
    docker: DockerClient,
    loaded: dict[str, str],
    plan: Plan,
    service: Callable[[str], Container],
    tmp_path: Path,
) -> None:
    prepare(tmp_path / "appliance", "gateway", BOTH)
    for name in ("gateway", "console"):
        plan.services[name]["ports"] = []
    options = services.container_options(plan, "gateway")
    options |= {"network_mode": "none", "healthcheck": {"test": ["NONE"]}}
    options |= {"entrypoint": WRITER[:1], "command": WRITER[1:]}
    writer = docker.containers.create(**options)
    try:
        writer.start()
        wait_for(tmp_path / "appliance" / "run" / "audit.sock", writer)
        gateway, console = service("gateway"), service("console")
        for container in (gateway, console):
            container.start()
            wait_healthy(container, seconds=300)
        assert writers(writer, gateway, console) == [writer.name]
        gateway.stop(timeout=30)
        console.stop(timeout=30)
        for container in (gateway, console):
            container.reload()
            assert container.attrs["State"]["ExitCode"] == 0, container.logs().decode()[-1000:]
        writer.stop(timeout=30)
    finally:
        writer.remove(force=True)

    report = command(docker, plan, loaded["gateway"], "audit", "verify")
    assert report["ok"] and report["problems"] == []
    rows = command(docker, plan, loaded["gateway"], "audit", "search")["entries"]
    actions = {(row["component"], row["action"]) for row in rows}
    for name in ("gateway", "console"):
        assert {(name, f"{name}.started"), (name, f"{name}.stopped")} <= actions
