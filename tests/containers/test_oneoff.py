"""The agent's image: commands on the state without a network; the real image, built here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from docker import DockerClient

from appliance.bundle.images import engine, oneoff
from appliance.bundle.images.build import Builder
from appliance.bundle.images.services import Plan
from appliance.core.errors import ImageRefusedError
from tests.containers.container_support import CACHE, archive

pytestmark = pytest.mark.containers
NOTE = "Paciente: Ana Fictícia da Silva, CPF 529.982.247-25. Relata dor de cabeça."


@pytest.fixture
def agent_plan(docker: DockerClient, builder: Builder, plan: Plan, tmp_path: Path) -> Plan:
    """The compose file with the agent's image loaded and an input."""
    builder.build("agent")
    engine.load(docker, archive("agent"))
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    (inputs / "note-1.txt").write_text(NOTE, encoding="utf-8")
    for path in (inputs, *inputs.iterdir()):
        path.chmod(0o755)
    service = plan.services["agent"]
    service["volumes"] = [service["volumes"][0], f"{inputs}:/inputs:ro"]
    service["mem_limit"] = "2g"
    return plan


def ask(docker: DockerClient, plan: Plan, capfd: Any, *command: str) -> dict[str, Any]:
    code = oneoff.run(docker, plan, CACHE / "test", [*command, "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_records_are_imported_and_cleaned_in_containers_of_their_own(
    docker: DockerClient, agent_plan: Plan, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    first = ask(docker, agent_plan, capfd, "data", "import", "/inputs")["dataset"]
    second = ask(docker, agent_plan, capfd, "deid", "apply", "--dataset", first)["dataset"]
    text = "".join(
        path.read_text(encoding="utf-8")
        for path in (tmp_path / "appliance" / "datasets" / second).rglob("*.jsonl")
    )
    assert "dor de cabeça" in text and "529.982.247-25" not in text
    assert ask(docker, agent_plan, capfd, "audit", "verify")["ok"]


def test_another_image_of_the_same_name_is_not_run(
    docker: DockerClient, agent_plan: Plan, loaded: dict[str, str], tmp_path: Path
) -> None:
    docker.images.get(loaded["base"]).tag("appliance/agent", "0.1.0")
    with pytest.raises(ImageRefusedError):
        oneoff.run(docker, agent_plan, CACHE / "test", ["--version"])
    with pytest.raises(ImageRefusedError, match=r"agent\.oci\.tar"):
        oneoff.run(docker, agent_plan, tmp_path, ["--version"])
    assert list((tmp_path / "appliance" / "models").iterdir()) == []
