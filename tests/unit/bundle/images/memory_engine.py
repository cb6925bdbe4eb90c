"""A Docker engine that is a few dictionaries: images by id with their names, containers by name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

from docker.errors import ImageNotFound

from appliance.bundle.images.oci import Runtime, assemble, write_archive, write_layer
from appliance.bundle.images.proof import prove
from appliance.bundle.images.tree import Tree

EPOCH = 1_700_000_000


def small_archive(path: Path, reference: str, text: bytes = b"one") -> str:
    """Write a sound archive of one small layer; return its image id."""
    tree = Tree()
    tree.file("usr/bin/program", text, mode=0o755)
    layer = write_layer(tree, path.parent / ".layers", epoch=EPOCH, comment="x")
    image = assemble(reference, [layer], Runtime("10001:10000", labels={"a": "b"}), epoch=EPOCH)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_archive(image, path, epoch=EPOCH)
    with path.open("rb") as stream:
        return prove(stream).image_id


class MemoryEngine:
    """What the product uses of the SDK's client."""

    def __init__(self) -> None:
        self.held: dict[str, set[str]] = {}
        self.loads = 0
        self.images = self
        self.containers = SimpleNamespace(list=self._containers)
        self.rows: list[Any] = []

    def load(self, stream: IO[bytes]) -> None:
        """Take an image; its name leaves the image that had it."""
        self.loads += 1
        proven = prove(stream)
        for names in self.held.values():
            names.discard(proven.reference)
        self.held.setdefault(proven.image_id, set()).add(proven.reference)

    def get(self, name: str) -> Any:
        """Return an image by id or name."""
        for image_id, names in self.held.items():
            if name == image_id or name in names:
                return SimpleNamespace(id=image_id, tags=sorted(names))
        raise ImageNotFound(name)

    def _containers(self, **asked: Any) -> list[Any]:
        label = asked["filters"].get("label")
        name = asked["filters"].get("name", "").strip("^$")
        return [r for r in self.rows if (label in r.labels if label else r.name == name)]
