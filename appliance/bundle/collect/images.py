"""Container images as OCI archives: whole, consistent, and without setuid files."""

from __future__ import annotations

import hashlib
import json
import stat
import tarfile
from pathlib import Path
from typing import IO, Any

from appliance.bundle.collect.apt import deb_purl
from appliance.bundle.collect.common import Collected
from appliance.bundle.collect.licences import NONE
from appliance.bundle.model import Content
from appliance.bundle.recipe import Image
from appliance.core.durable import os_errors, read_json
from appliance.core.errors import ArchiveRefusedError

MAX_JSON = 4 << 20
LICENCES = "org.opencontainers.image.licenses"  # what lies inside has its own entries
_STEP = 1 << 20


def collect_image(image: Image, path: Path) -> Collected:
    """Check an OCI archive and describe it; its digest goes into the SBOM."""
    with os_errors(path):
        digest, labels = check_archive(path)
        inside = parts_of(image, path, digest)
    content = Content(
        path=f"images/{image.name}.oci.tar",
        kind="image",
        name=image.name,
        version=image.version or digest.removeprefix("sha256:")[:12],
        purl=f"pkg:oci/{image.name}@{digest.replace(':', '%3A')}",
        licence=str(labels.get(LICENCES) or NONE),
    )
    return Collected(content, path, inside)


def parts_of(image: Image, path: Path, digest: str) -> tuple[Content, ...]:
    """Return the packages and wheels in an image, from the description its build left beside it."""
    note = path.with_name(f"{image.name}.json")
    if not note.is_file():
        return ()
    value = read_json(note)
    if value["manifest"] != digest:
        raise _refused(f"the description of {digest[:24]} in {note.name}", value["manifest"][:24])
    place = f"images/{image.name}.oci.tar"
    debs = [
        Content(
            path=place,
            kind="package",
            name=deb["name"],
            version=deb["version"],
            purl=deb_purl(
                "debian",
                "debian-12",
                (deb["name"], deb["version"], deb["architecture"]),
                source_of(deb["source"], deb["version"]),
            ),
            licence=deb.get("licence", NONE),
            source=source_of(deb["source"], deb["version"]),
        )
        for deb in value["debian"]
    ]
    wheels = [
        Content(
            path=place,
            kind="wheel",
            name=wheel["name"],
            version=wheel["version"],
            purl=f"pkg:pypi/{wheel['name']}@{wheel['version']}".replace("+", "%2B"),
            licence=wheel.get("licence", NONE),
        )
        for wheel in value["wheels"]
    ]
    return (*debs, *wheels)


def source_of(field: str, version: str) -> str:
    """Return NAME@VERSION of a ``Source`` field: ``bzip2 (1.0.8-5)``, or a name alone."""
    name, _, own = field.partition(" ")
    return f"{name}@{own.strip('() ') or version}"


def check_archive(path: Path) -> tuple[str, dict[str, Any]]:
    """Return manifest digest and labels of an OCI archive, every blob checked against its name.

    (The digest would be lost by save and load: moby #22011.) Layers with setuid or setgid files
    or devices are refused: no image of the appliance needs them.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            members = {m.name.removeprefix("./"): m for m in archive if m.isfile()}
            index = _json(archive, members, "index.json")
            manifests = index["manifests"]
            if len(manifests) != 1:
                raise _refused("one manifest in index.json", f"{len(manifests)}")
            digest = str(manifests[0]["digest"])
            manifest = _json(archive, members, _blob(digest))
            for part in [{"digest": digest}, manifest["config"], *manifest["layers"]]:
                _check_blob(archive, members, str(part["digest"]))
            for layer in manifest["layers"]:
                _check_layer(archive, members[_blob(str(layer["digest"]))])
            config = _json(archive, members, _blob(str(manifest["config"]["digest"])))
            labels = dict((config.get("config") or {}).get("Labels") or {})
    except (tarfile.TarError, KeyError, TypeError, ValueError, EOFError) as error:
        raise _refused(f"an OCI archive at {path.name}", type(error).__name__) from error
    return digest, labels


def _refused(expected: str, found: str) -> ArchiveRefusedError:
    return ArchiveRefusedError(expected=expected, found=found)


def _blob(digest: str) -> str:
    kind, _, name = digest.partition(":")
    return f"blobs/{kind}/{name}"


def _open(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise _refused("a file", member.name)
    return stream


def _json(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> Any:
    return json.loads(_open(archive, members[name]).read(MAX_JSON))


def _check_blob(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], digest: str) -> None:
    found = hashlib.sha256()
    stream = _open(archive, members[_blob(digest)])
    while data := stream.read(_STEP):
        found.update(data)
    if f"sha256:{found.hexdigest()}" != digest:
        raise _refused(f"the blob {digest[:24]}", "other bytes")


def _check_layer(archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    with tarfile.open(fileobj=_open(archive, member), mode="r|*") as layer:
        for item in layer:
            if item.isfile() and item.mode & (stat.S_ISUID | stat.S_ISGID):
                raise _refused("no setuid or setgid file in an image", item.name[:80])
            if item.isdev():
                raise _refused("no device in an image", item.name[:80])
