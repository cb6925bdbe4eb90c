"""Prove an image archive before Docker or anyone else reads it: every byte, every member.

Steps, each with its own refusal: 1 members are plain files at allowed names, each once; 2 a blob's
bytes hash to its name; 3 index names one manifest, the manifest one configuration and the layers,
with sizes; 4 each layer unpacks to the hash the configuration holds, within the bounds;
5 Docker's own list names the same; 6 nothing else is in the archive.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from appliance.bundle.images.oci import LAYER, LAYOUT, MANIFEST, REFERENCE
from appliance.core.durable import os_errors
from appliance.core.errors import ArchiveRefusedError

FIXED = ("oci-layout", "index.json", "manifest.json")
BLOB = re.compile(r"^blobs/sha256/([0-9a-f]{64})$")
# A manifest has some hundred bytes a layer; this is against a file that does not end.
JSON_MAX = 1 << 20
MEMBERS_MAX = 256
# Bytes a layer may unpack to: the CUDA trainer's largest has 9 GB.
UNPACKED_MAX = 32 << 30
PIECE = 1 << 20


@dataclass(frozen=True)
class Proven:
    """What an archive was proven to hold."""

    reference: str
    image_id: str
    layers: tuple[str, ...]
    labels: dict[str, str]
    unpacked: int


def prove_file(path: Path) -> Proven:
    """Prove the archive at ``path``."""
    with os_errors(path), path.open("rb") as stream:
        return prove(stream)


def prove(source: IO[bytes]) -> Proven:
    """Prove an archive; raise ``ArchiveRefusedError`` naming what is wrong."""
    small: dict[str, bytes] = {}
    unpacked: dict[str, tuple[str, int]] = {}
    sizes: dict[str, int] = {}
    try:
        with tarfile.open(fileobj=source, mode="r|") as archive:
            for member in archive:
                _member(archive, member, small, unpacked, sizes)
    except (tarfile.TarError, zlib.error, EOFError) as error:
        raise _refused("a whole archive", type(error).__name__) from error
    return _judge(small, unpacked, sizes)


def identify(path: Path) -> tuple[str, str]:
    """Return the reference and the image id that an archive *names*, without proving its layers.

    For archives whose bytes were proven when they came: the id is the hash of the configuration,
    which names every layer, and the engine is asked for that very id.
    """
    try:
        with os_errors(path), tarfile.open(path, mode="r:") as archive:
            (entry,) = _small(archive, "index.json")["manifests"]
            manifest = _small(archive, f"blobs/sha256/{_hex(entry['digest'])}")
            return str(
                entry["annotations"][REFERENCE]
            ), f"sha256:{_hex(manifest['config']['digest'])}"
    except (tarfile.TarError, KeyError, TypeError, ValueError) as error:
        raise _refused(f"an OCI image archive at {path.name}", type(error).__name__) from error


def _hex(digest: str) -> str:
    found = re.fullmatch(r"sha256:([0-9a-f]{64})", digest)
    if found is None:
        raise _refused("a SHA-256 digest", digest[:20])
    return found[1]


def _small(archive: tarfile.TarFile, name: str) -> Any:
    member = archive.getmember(name)
    stream = archive.extractfile(member)
    if stream is None or member.size > JSON_MAX:
        raise _refused(f"a small file {name}", f"{member.size} bytes")
    return json.loads(stream.read(JSON_MAX))


def _member(
    archive: tarfile.TarFile,
    member: tarfile.TarInfo,
    small: dict[str, bytes],
    unpacked: dict[str, tuple[str, int]],
    sizes: dict[str, int],
) -> None:
    name = member.name
    blob = BLOB.match(name)
    if not member.isreg() or (blob is None and name not in FIXED):
        raise _refused("the members of an OCI image archive", f"{name!r}")
    if name in sizes:
        raise _refused("each member once", f"{name!r} again")
    if len(sizes) >= MEMBERS_MAX:
        raise _refused(f"at most {MEMBERS_MAX} members", "more")
    sizes[name] = member.size
    stream = archive.extractfile(member)
    assert stream is not None
    if blob is None:
        small[name] = _whole(stream, member, name)
        return
    head = stream.read(2)
    if head == b"\x1f\x8b":
        digest, unpacked[name] = _unpack(head, stream, name)
    else:
        small[name] = head + _whole(stream, member, name)
        digest = hashlib.sha256(small[name]).hexdigest()
    if digest != blob[1]:
        raise _refused(f"bytes that hash to {blob[1]}", digest)


def _whole(stream: IO[bytes], member: tarfile.TarInfo, name: str) -> bytes:
    if member.size > JSON_MAX:
        raise _refused(f"at most {JSON_MAX} bytes of JSON", f"{member.size} in {name}")
    return stream.read(JSON_MAX)


def _unpack(head: bytes, stream: IO[bytes], name: str) -> tuple[str, tuple[str, int]]:
    """Return the hash of the packed bytes, and the hash and size of what they unpack to."""
    packed, inner, size = hashlib.sha256(), hashlib.sha256(), 0
    gunzip = zlib.decompressobj(wbits=31)
    piece = head
    while piece:
        packed.update(piece)
        rest = piece
        while rest and not gunzip.eof:
            out = gunzip.decompress(rest, PIECE)
            inner.update(out)
            size += len(out)
            if size > UNPACKED_MAX:
                raise _refused(f"a layer of at most {UNPACKED_MAX} bytes", f"more in {name}")
            rest = gunzip.unconsumed_tail
        if gunzip.eof and (gunzip.unused_data or rest):
            raise _refused("nothing after a layer's end", f"more bytes in {name}")
        piece = stream.read(PIECE)
    if not gunzip.eof:
        raise _refused("a whole layer", f"a cut one in {name}")
    return packed.hexdigest(), (inner.hexdigest(), size)


def _judge(
    small: dict[str, bytes], unpacked: dict[str, tuple[str, int]], sizes: dict[str, int]
) -> Proven:
    if small.get("oci-layout") != LAYOUT:
        raise _refused("an OCI image layout 1.0.0", "none")
    try:
        (entry,) = _json(small, "index.json")["manifests"]
        manifest_name = _named(entry, MANIFEST, sizes)
        manifest = _json(small, manifest_name)
        config_name = _named(manifest["config"], None, sizes)
        config = _json(small, config_name)
        layers = [_named(layer, LAYER, sizes) for layer in manifest["layers"]]
        expected = [f"sha256:{unpacked[name][0]}" for name in layers]
        if config["rootfs"]["diff_ids"] != expected:
            raise _refused("the layers the configuration names", "others")
        (docker,) = _json(small, "manifest.json")
        reference = str(entry["annotations"][REFERENCE])
        if docker != {"Config": config_name, "RepoTags": [reference], "Layers": layers}:
            raise _refused("Docker's list to name the same image", "another one")
        labels = dict(config["config"]["Labels"])
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise _refused("an image's JSON", type(error).__name__) from error
    strangers = sorted(sizes.keys() - {*FIXED, manifest_name, config_name, *layers})
    if strangers:
        raise _refused("nothing the manifest does not name", ", ".join(strangers[:3]))
    return Proven(
        reference=reference,
        image_id="sha256:" + config_name.rpartition("/")[2],
        layers=tuple(name.rpartition("/")[2] for name in layers),
        labels=labels,
        unpacked=sum(unpacked[name][1] for name in layers),
    )


def _json(small: dict[str, bytes], name: str) -> Any:
    return json.loads(small[name])


def _named(descriptor: dict[str, Any], kind: str | None, sizes: dict[str, int]) -> str:
    name = f"blobs/sha256/{descriptor['digest'].removeprefix('sha256:')}"
    if kind is not None and descriptor["mediaType"] != kind:
        raise _refused(kind, str(descriptor["mediaType"]))
    if sizes.get(name) != descriptor["size"]:
        raise _refused(f"{descriptor['size']} bytes at {name}", f"{sizes.get(name)}")
    return name


def _refused(expected: str, found: str) -> ArchiveRefusedError:
    return ArchiveRefusedError(expected=expected, found=found)
