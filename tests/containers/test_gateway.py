"""The gateway as the compose file starts it: TLS, read-only, no way out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from docker.models.containers import Container

from appliance.bundle.images.services import Plan
from tests.containers.container_support import Neighbour, prepare, wait_healthy

pytestmark = pytest.mark.containers


@pytest.fixture
def gateway(plan: Plan, tmp_path: Path, service: Callable[[str], Container]) -> Container:
    prepare(tmp_path / "appliance", "gateway")
    plan.services["gateway"]["ports"] = []  # the published port is the host's own test
    container = service("gateway")
    container.start()
    wait_healthy(container, seconds=300)
    return container


def test_it_answers_health_to_its_neighbours_over_tls(
    gateway: Container, neighbour: Neighbour
) -> None:
    status, body = neighbour.ask("https://gateway:8443/health")
    assert status == 200 and json.loads(body)["status"] == "alive"


def test_it_stops_in_order_and_its_state_is_its_own(gateway: Container, tmp_path: Path) -> None:
    assert gateway.attrs["HostConfig"]["ReadonlyRootfs"] is True
    gateway.stop(timeout=30)
    gateway.reload()
    assert gateway.attrs["State"]["ExitCode"] == 0, gateway.logs().decode()[-1000:]
    written = [p for p in (tmp_path / "appliance" / "audit").rglob("*") if p.is_file()]
    assert written and all(p.stat().st_uid == 10001 for p in written)
