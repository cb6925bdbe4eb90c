"""What the engine holds is what was proven, or it is refused."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from docker import DockerClient
from docker.errors import ImageNotFound

from appliance.bundle.images import engine
from appliance.bundle.images.proof import prove_file
from appliance.core.errors import ArchiveRefusedError, ImageRefusedError
from tests.containers.container_support import archive

pytestmark = pytest.mark.containers


def renamed(source: Path, target: Path, name: str, *, flip: bool) -> Path:
    """Copy an archive under another image name; ``flip`` changes one byte of its first layer."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        flipped = not flip
        for member in old:
            content = old.extractfile(member)
            assert content is not None
            data = content.read()
            if member.name in {"index.json", "manifest.json"}:
                data = data.replace(b"appliance/base:0.1.0", name.encode())
            elif not flipped and data[:2] == b"\x1f\x8b":
                data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
                flipped = True
            member.size = len(data)
            new.addfile(member, io.BytesIO(data))
    return target


def test_a_tampered_layer_never_reaches_the_engine(
    docker: DockerClient, loaded: dict[str, str], tmp_path: Path
) -> None:
    name = "appliance/tampered:0"
    bad = renamed(archive("base"), tmp_path / "bad.tar", name, flip=True)
    with pytest.raises(ArchiveRefusedError):
        engine.load(docker, bad)
    with pytest.raises(ImageNotFound):
        docker.images.get(name)


def test_the_same_archive_under_another_name_is_the_same_image(
    docker: DockerClient, loaded: dict[str, str], tmp_path: Path
) -> None:
    name = "appliance/same:0"
    copy = renamed(archive("base"), tmp_path / "same.tar", name, flip=False)
    try:
        assert engine.load(docker, copy).image_id == docker.images.get(loaded["base"]).id
    finally:
        docker.images.remove(name)


def test_an_image_exchanged_behind_our_back_is_noticed(
    docker: DockerClient, loaded: dict[str, str]
) -> None:
    proven = prove_file(archive("base"))
    engine.require_same(docker, proven)
    docker.images.get(loaded["gateway"]).tag(*loaded["base"].rsplit(":", 1))
    try:
        with pytest.raises(ImageRefusedError, match=proven.image_id):
            engine.require_same(docker, proven)
    finally:
        engine.load(docker, archive("base"))
    engine.require_same(docker, proven)
