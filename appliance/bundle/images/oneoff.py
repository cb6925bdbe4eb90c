"""One command of the agent in a container of its own, with the trainer beside it when asked.

The agent's image has no network, no rights and no way to the container engine: training is taken
up by the trainer service, which sees the runs' folder and the weights, and has no network either.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from docker import DockerClient
from docker.models.containers import Container

from appliance.bundle.images import engine, services
from appliance.bundle.images.proof import prove_file
from appliance.bundle.images.services import Plan
from appliance.core.errors import ImageRefusedError

AGENT, TRAINER = "agent", "trainer"
STOP_S = 90  # the trainer writes a checkpoint first


def run(client: DockerClient, plan: Plan, images: Path, command: Sequence[str]) -> int:
    """Run ``appliance COMMAND`` as the plan's agent service; return its exit code.

    Raises:
        ImageRefusedError: the engine's image is not the one whose archive lies in ``images``.
    """
    image = require_proven(client, plan, images, AGENT)
    options = services.container_options(plan, AGENT) | {"image": image, "command": list(command)}
    container = client.containers.create(network_mode="none", detach=True, **options)
    try:
        said = container.attach(stream=True, demux=True)  # before the start: nothing is missed
        container.start()
        for answer, progress in said:
            for data, stream in ((answer, sys.stdout), (progress, sys.stderr)):
                stream.buffer.write(data or b"")
                stream.flush()
        return int(container.wait()["StatusCode"])
    finally:
        container.remove(force=True)


@contextlib.contextmanager
def trainer(client: DockerClient, plan: Plan, images: Path) -> Iterator[Container]:
    """Keep the trainer service running, of the image whose archive was proven just now."""
    image = require_proven(client, plan, images, TRAINER)
    with serving(client, plan, image) as container:
        yield container


@contextlib.contextmanager
def serving(client: DockerClient, plan: Plan, image: str) -> Iterator[Container]:
    """Keep the trainer service running, of ``image``; one that was left behind is removed."""
    services.remove(client, plan, TRAINER)
    service = {**plan.services[TRAINER], "image": image}
    plan = replace(plan, services={**plan.services, TRAINER: service})
    container = services.create(client, plan, TRAINER)
    try:
        container.start()
        yield container
        container.stop(timeout=STOP_S)
    finally:
        container.remove(force=True)


def require_proven(client: DockerClient, plan: Plan, images: Path, name: str) -> str:
    """Return the identifier of the service's image after proving the archive it came from."""
    archive = images / f"{name}.oci.tar"
    if not archive.is_file():
        raise ImageRefusedError(
            expected=f"{archive.name} in {images}, to compare the engine's image with",
            found="no such file",
            remedy="Name the bundle's folder of images with --images.",
        )
    proven = prove_file(archive)
    wanted = plan.services[name]["image"]
    if proven.reference != wanted:
        raise ImageRefusedError(expected=f"an archive of {wanted}", found=proven.reference)
    engine.require_same(client, proven)
    return proven.image_id
