"""Giving proven archives to Docker, and making sure that what it has is what was proven."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import DockerException, ImageLoadError, ImageNotFound
from requests.exceptions import RequestException

from appliance.bundle.images.proof import Proven, identify, prove
from appliance.core.durable import os_errors
from appliance.core.errors import ImageRefusedError, ToolMissingError

# Seconds the engine may be silent: unpacking 3 GB on a slow disk says nothing for minutes.
SILENT_S = 1800


def connect(base_url: str | None = None) -> DockerClient:
    """Return a client of the engine (``DOCKER_HOST`` or the usual socket when none is named)."""
    try:
        client = (
            DockerClient(base_url=base_url, timeout=SILENT_S)
            if base_url
            else DockerClient.from_env(timeout=SILENT_S)
        )
        client.ping()
    except DockerException as error:
        raise ToolMissingError(
            expected="a Docker engine that answers",
            found=type(error).__name__,
            remedy="Start it (sudo systemctl start docker), or put this user into its group.",
        ) from error
    return client


def load(client: DockerClient, archive: Path) -> Proven:
    """Prove ``archive``, load it, and compare what the engine has with what was proven.

    The engine forgets the manifest's digest (moby #22011); the image's own name, the hash of its
    configuration and so of every layer, survives and is compared. The same open file is proven
    and loaded, so a file put in its place in between is not what is loaded.
    """
    with os_errors(archive), archive.open("rb") as stream:
        proven = prove(stream)
        stream.seek(0)
        try:
            client.images.load(stream)
        except (ImageLoadError, DockerException, RequestException) as error:
            raise ImageRefusedError(
                expected=f"the engine to take {proven.reference}", found=type(error).__name__
            ) from error
    require_same(client, proven)
    return proven


def bring(client: DockerClient, archive: Path) -> str:
    """Make sure the engine has the image of a proven archive, and return its id.

    An image that is there under its name and id is not read again: the id is the hash of all of it.
    """
    reference, image_id = identify(archive)
    if found_id(client, reference) != image_id:
        return load(client, archive).image_id
    return image_id


def found_id(client: DockerClient, reference: str) -> str | None:
    """Return the id of the image the engine has under ``reference``."""
    try:
        return str(client.images.get(reference).id)
    except ImageNotFound:
        return None


def require_same(client: DockerClient, proven: Proven) -> None:
    """Raise ``ImageRefusedError`` unless the engine's image of that name is the proven one."""
    found = found_id(client, proven.reference) or "no image"
    if found != proven.image_id:
        raise ImageRefusedError(
            expected=f"{proven.reference} to be {proven.image_id}",
            found=found,
            remedy="Load the image from the bundle again; ask who changed it.",
        )


def describe(client: DockerClient, reference: str) -> dict[str, Any]:
    """Return what the engine knows of an image: name, labels, size on disk."""
    image = client.images.get(reference)
    return {"image_id": image.id, "labels": image.labels, "bytes": image.attrs["Size"]}
