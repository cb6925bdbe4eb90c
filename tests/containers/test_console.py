"""The reviewers' console as the compose file starts it: TLS, read-only, no capabilities."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from docker.models.containers import Container

from appliance.bundle.images.services import Plan
from tests.containers.container_support import Neighbour, prepare, wait_healthy

pytestmark = pytest.mark.containers


def test_it_shows_the_log_in_page_and_stops_in_order(
    plan: Plan, service: Callable[[str], Container], neighbour: Neighbour, tmp_path: Path
) -> None:
    prepare(tmp_path / "appliance", "console")
    plan.services["console"]["ports"] = []  # the published port is the host's own test
    container = service("console")
    container.start()
    wait_healthy(container, seconds=300)
    assert container.attrs["HostConfig"]["ReadonlyRootfs"] is True
    assert container.attrs["HostConfig"]["CapDrop"] == ["ALL"]
    status, page = neighbour.ask("https://console:8444/login")
    assert status == 200
    assert '<html lang="pt-BR"' in page
    status, _ = neighbour.ask("https://console:8444/events")
    assert status in {302, 303, 307}
    container.stop(timeout=30)
    container.reload()
    assert container.attrs["State"]["ExitCode"] == 0, container.logs().decode()[-1000:]
