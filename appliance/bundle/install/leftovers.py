"""Images that only removed versions brought: taken from the engine too.

An image is known by its id, the hash of all of it. What a kept version names stays; what no bundle
brought is never touched; a name that somebody else gave an image keeps it. What could not be
removed (the engine is down, a container still uses it) is tried again at the next change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from appliance.bundle.images.proof import identify
from appliance.bundle.install.store import Store, Version
from appliance.bundle.paths import safe_path
from appliance.core.durable import read_json, write_json
from appliance.core.errors import ApplianceError

if TYPE_CHECKING:
    from docker import DockerClient

Images = dict[str, str]  # image id -> the name the bundle gave it


class Engine(Protocol):
    """Who holds images."""

    def remove(self, images: Mapping[str, str]) -> dict[str, str]:
        """Remove ``images`` (id to name); return those that stayed, with the reason."""
        ...


class DockerEngine:
    """The Docker engine of this machine."""

    def __init__(self, client: DockerClient | None = None) -> None:
        """Connect when there is something to do."""
        self._client = client

    def remove(self, images: Mapping[str, str]) -> dict[str, str]:
        """Remove each by its name while that is its own, or by its id when it has no name left."""
        from docker.errors import APIError, DockerException

        from appliance.bundle.images.engine import connect

        stayed: dict[str, str] = {}
        try:
            client = self._client or connect()
        except ApplianceError as error:
            return dict.fromkeys(images, error.found)
        for image_id, name in images.items():
            try:
                _remove(client, image_id, name)
            except APIError as error:
                stayed[image_id] = str(error.explanation or "refused")[:200]
            except DockerException as error:
                stayed[image_id] = type(error).__name__
        return stayed


def _remove(client: Any, image_id: str, name: str) -> None:
    from docker.errors import ImageNotFound

    try:
        names = client.images.get(image_id).tags
    except ImageNotFound:
        return
    if name in names:
        client.images.remove(name)  # with its last name the image goes
    elif not names:
        client.images.remove(image_id)


@dataclass
class Pruned:
    """What became of the images of removed versions."""

    removed: int = 0
    warnings: list[str] = field(default_factory=list)

    def detail(self) -> dict[str, int]:
        """Return the numbers for the log; nothing when there was nothing to do."""
        found = {"images_removed": self.removed, "images_left": len(self.warnings)}
        return {key: value for key, value in found.items() if value}


class Leftovers:
    """The images of versions that are gone."""

    def __init__(self, store: Store, engine: Engine) -> None:
        """Keep the list in ``store``."""
        self.store, self.engine = store, engine

    def note(self, gone: Iterable[Version]) -> None:
        """Put the images of versions that are about to go on the list, durably."""
        listed = self._listed()
        more = {k: v for version in gone for k, v in brought(version, strict=False).items()}
        if more.keys() - listed.keys():
            write_json(self.store.leftovers, listed | more)

    def remove(self, kept: Sequence[Version]) -> Pruned:
        """Remove what is listed and no version of ``kept`` names; failing is a warning."""
        listed, done = self._listed(), Pruned()
        if not listed:
            return done
        try:
            needed = {image_id for version in kept for image_id in brought(version, strict=True)}
        except ApplianceError as error:
            done.warnings = [f"images of removed versions were kept: {error.found}"]
            return done
        wanted = {k: v for k, v in listed.items() if k not in needed}
        stayed = self.engine.remove(wanted) if wanted else {}
        write_json(self.store.leftovers, {k: listed[k] for k in stayed})
        done.removed = len(wanted) - len(stayed)
        done.warnings = [f"{wanted[k]} ({k[7:19]}) stays: {why}" for k, why in stayed.items()]
        return done

    def _listed(self) -> Images:
        """Return the list; one that cannot be read is begun anew: it only saves disk space."""
        try:
            value = read_json(self.store.leftovers) if self.store.leftovers.is_file() else {}
        except ApplianceError:
            return {}
        return {str(k): str(v) for k, v in value.items()} if isinstance(value, dict) else {}


def brought(version: Version, *, strict: bool) -> Images:
    """Return the images a version brought; an unreadable one raises when ``strict``."""
    found: Images = {}
    try:
        contents = version.manifest().contents
    except ApplianceError:
        if strict:
            raise
        return found
    for content in contents:
        if content.kind != "image":
            continue
        try:
            name, image_id = identify(version.content / safe_path(content.path))
        except ApplianceError:
            if strict:
                raise
            continue
        found[image_id] = name
    return found
