"""OCI images: written as one archive that Docker also loads, and proven before they are believed.

The archive is an OCI image layout (image-spec 1.1) in a tar: ``oci-layout``, ``index.json`` and
``blobs/sha256``, plus ``manifest.json``, which Docker before 25 reads. The image's name for
Docker is the SHA-256 of its configuration, which holds the SHA-256 of every layer's tar.
"""

from __future__ import annotations

import gzip
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import IO, Any, cast

from appliance.bundle.images.recipe import Health
from appliance.bundle.images.tree import Hashing, Tree, write_tar
from appliance.core.canonical import canonical_json, sha256_hex
from appliance.core.durable import os_errors

CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'
REFERENCE = "org.opencontainers.image.ref.name"
AGENT_COMMENT = "the agent"
# zlib's default; the digests of a layer hold for one version of zlib, its diff_id for any.
LEVEL = 6
NANOSECONDS = 1_000_000_000


@dataclass(frozen=True)
class Layer:
    """A layer on disk: its packed bytes, and what they unpack to."""

    path: Path
    digest: str
    size: int
    diff_id: str
    unpacked: int
    comment: str

    def to_dict(self) -> dict[str, Any]:
        """Return what is remembered of it."""
        return {
            "digest": self.digest,
            "size": self.size,
            "diff_id": self.diff_id,
            "unpacked": self.unpacked,
            "comment": self.comment,
        }


@dataclass(frozen=True)
class Runtime:
    """How a container of the image starts."""

    user: str
    environment: Mapping[str, str] = field(default_factory=dict)
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    working_folder: str = "/"
    ports: Sequence[int] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    health: Health | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the ``config`` object (``Healthcheck`` is Docker's own addition)."""
        config: dict[str, Any] = {
            "User": self.user,
            "Env": [f"{k}={v}" for k, v in sorted(self.environment.items())],
            "WorkingDir": self.working_folder,
            "Labels": dict(sorted(self.labels.items())),
        }
        if self.entrypoint:
            config["Entrypoint"] = list(self.entrypoint)
        if self.command:
            config["Cmd"] = list(self.command)
        if self.ports:
            config["ExposedPorts"] = {f"{port}/tcp": {} for port in sorted(self.ports)}
        if self.health is not None:
            config["Healthcheck"] = {
                "Test": ["CMD", *self.health.command],
                "Interval": int(self.health.interval_s * NANOSECONDS),
                "Timeout": int(self.health.timeout_s * NANOSECONDS),
                "StartPeriod": int(self.health.start_s * NANOSECONDS),
                "Retries": self.health.retries,
            }
        return config


@dataclass(frozen=True)
class Built:
    """An image: its layers and the JSON that names them."""

    reference: str
    config: bytes
    manifest: bytes
    layers: tuple[Layer, ...]

    @property
    def image_id(self) -> str:
        """The name Docker gives the image."""
        return f"sha256:{sha256_hex(self.config)}"

    @property
    def unpacked(self) -> int:
        """Bytes of all layers' tars, unpacked."""
        return sum(layer.unpacked for layer in self.layers)


def write_layer(tree: Tree, folder: Path, *, epoch: int, comment: str) -> Layer:
    """Write ``tree`` as a layer into ``folder`` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".layer-{id(tree)}"
    with os_errors(temporary), temporary.open("wb") as raw:
        outer = Hashing(raw)
        with gzip.GzipFile(
            filename="", mode="wb", fileobj=cast("IO[bytes]", outer), mtime=0, compresslevel=LEVEL
        ) as packed:
            inner = Hashing(cast("IO[bytes]", packed))
            write_tar(tree, cast("IO[bytes]", inner), epoch=epoch)
    digest = outer.digest.hexdigest()
    path = folder / digest
    with os_errors(path):
        temporary.replace(path)
    return Layer(path, digest, outer.size, inner.digest.hexdigest(), inner.size, comment)


def assemble(reference: str, layers: Sequence[Layer], runtime: Runtime, *, epoch: int) -> Built:
    """Return the image of ``layers``, lowest first."""
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    config = canonical_json(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": created,
            "config": runtime.to_dict(),
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{x.diff_id}" for x in layers]},
            "history": [{"created": created, "created_by": x.comment} for x in layers],
        }
    )
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, sha256_hex(config), len(config)),
            "layers": [_descriptor(LAYER, x.digest, x.size) for x in layers],
            "annotations": dict(sorted(runtime.labels.items())),
        }
    )
    return Built(reference, config, manifest, tuple(layers))


def _descriptor(kind: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def write_archive(image: Built, path: Path, *, epoch: int) -> str:
    """Write the image as one tar at ``path`` and return the tar's SHA-256."""
    index = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": [
                {
                    **_descriptor(MANIFEST, sha256_hex(image.manifest), len(image.manifest)),
                    "annotations": {REFERENCE: image.reference},
                }
            ],
        }
    )
    docker = canonical_json(
        [
            {
                "Config": _blob(sha256_hex(image.config)),
                "RepoTags": [image.reference],
                "Layers": [_blob(layer.digest) for layer in image.layers],
            }
        ]
    )
    parts: dict[str, bytes | Path] = {
        **{_blob(layer.digest): layer.path for layer in settled_first(image.layers)},
        _blob(sha256_hex(image.config)): image.config,
        _blob(sha256_hex(image.manifest)): image.manifest,
        "index.json": index,
        "manifest.json": docker,
        "oci-layout": LAYOUT,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    with os_errors(temporary), temporary.open("wb") as raw:
        out = Hashing(raw)
        with tarfile.open(
            fileobj=cast("IO[bytes]", out), mode="w|", format=tarfile.USTAR_FORMAT
        ) as archive:
            for name, source in parts.items():
                _add(archive, name, source, epoch)
        raw.flush()
    with os_errors(path):
        temporary.replace(path)
    return out.digest.hexdigest()


def settled_first(layers: Sequence[Layer]) -> list[Layer]:
    """Return the layers in the order they lie in the archive: the agent's, which changes, last.

    What comes before it keeps its place from release to release, and images on one base begin with
    the same bytes: a bundle holds those blocks once, and a difference bundle none of them.
    """
    return sorted(layers, key=lambda layer: layer.comment == AGENT_COMMENT)


def _add(archive: tarfile.TarFile, name: str, source: bytes | Path, epoch: int) -> None:
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = epoch, 0o644
    if isinstance(source, bytes):
        info.size = len(source)
        archive.addfile(info, BytesIO(source))
        return
    info.size = source.stat().st_size
    with source.open("rb") as stream:
        archive.addfile(info, stream)


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"
