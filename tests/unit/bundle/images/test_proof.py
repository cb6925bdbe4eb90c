"""An archive that was tampered with is refused, whatever was changed and however consistently."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.bundle.images import oci, proof
from appliance.bundle.images.oci import Runtime, assemble, write_archive, write_layer
from appliance.bundle.images.proof import prove, prove_file
from appliance.bundle.images.tree import Tree
from appliance.core.errors import ArchiveRefusedError

EPOCH = 1_700_000_000
Members = dict[str, bytes]


def tree(text: bytes = b"print(1)\n") -> Tree:
    made = Tree()
    made.file("usr/bin/program", text, mode=0o755)
    made.link("bin", "usr/bin")
    return made


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("image")
    layers = [
        write_layer(tree(text), folder / "layers", epoch=EPOCH, comment=str(number))
        for number, text in enumerate((b"one", b"two" * 500))
    ]
    image = assemble(
        "appliance/test:1", layers, Runtime("10001:10000", labels={"a": "b"}), epoch=EPOCH
    )
    write_archive(image, folder / "image.tar", epoch=EPOCH)
    return (folder / "image.tar").read_bytes()


def unpack(data: bytes) -> Members:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr] # all are files


def pack(members: Members, *extra: tarfile.TarInfo) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in extra:
            archive.addfile(info)
    stream.seek(0)
    return stream


def blob(data: bytes) -> str:
    return f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"


def rewritten(
    members: Members, change: Callable[[dict[str, Any], dict[str, Any]], None]
) -> Members:
    """Change configuration and manifest and make every name fit again, as an attacker would."""
    index = json.loads(members["index.json"])
    old_manifest = f"blobs/sha256/{index['manifests'][0]['digest'][7:]}"
    manifest = json.loads(members[old_manifest])
    old_config = f"blobs/sha256/{manifest['config']['digest'][7:]}"
    config = json.loads(members[old_config])
    change(config, manifest)
    out = {k: v for k, v in members.items() if k not in {old_manifest, old_config}}
    new_config = json.dumps(config).encode()
    manifest["config"] |= {"digest": f"sha256:{blob(new_config)[13:]}", "size": len(new_config)}
    new_manifest = json.dumps(manifest).encode()
    index["manifests"][0] |= {
        "digest": f"sha256:{blob(new_manifest)[13:]}",
        "size": len(new_manifest),
    }
    docker = json.loads(members["manifest.json"])
    docker[0]["Config"] = blob(new_config)
    docker[0]["Layers"] = [f"blobs/sha256/{x['digest'][7:]}" for x in manifest["layers"]]
    out |= {blob(new_config): new_config, blob(new_manifest): new_manifest}
    out |= {"index.json": json.dumps(index).encode(), "manifest.json": json.dumps(docker).encode()}
    return out


def layer_names(members: Members) -> list[str]:
    return list(json.loads(members["manifest.json"])[0]["Layers"])


def test_a_good_archive_is_proven(good: bytes) -> None:
    proven = prove(io.BytesIO(good))
    members = unpack(good)
    assert proven.reference == "appliance/test:1"
    assert proven.image_id == f"sha256:{json.loads(members['manifest.json'])[0]['Config'][13:]}"
    assert len(proven.layers) == 2 and proven.labels == {"a": "b"}
    assert prove(pack(rewritten(members, lambda _c, _m: None))).layers == proven.layers


def test_the_same_tree_is_the_same_bytes(good: bytes, tmp_path: Path) -> None:
    first = write_layer(tree(), tmp_path / "a", epoch=EPOCH, comment="")
    shuffled = Tree(dict(reversed(tree().nodes.items())))
    second = write_layer(shuffled, tmp_path / "b", epoch=EPOCH, comment="")
    assert (first.digest, first.diff_id) == (second.digest, second.diff_id)
    assert write_layer(tree(), tmp_path / "a", epoch=EPOCH + 1, comment="").diff_id != first.diff_id


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.integers(min_value=0), bit=st.integers(0, 7))
def test_bit_flip_anywhere_is_refused_or_changes_nothing_that_is_used(
    good: bytes, position: int, bit: int
) -> None:
    data = bytearray(good)
    data[position % len(data)] ^= 1 << bit
    try:
        found = prove(io.BytesIO(bytes(data)))
    except ArchiveRefusedError:
        return
    # Only the tar's own headers (times, owners) and padding are free; no byte of the image is.
    assert found == prove(io.BytesIO(good))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.integers(min_value=0))
def test_truncation_is_refused(good: bytes, length: int) -> None:
    end = len(good.rstrip(b"\0"))
    with pytest.raises(ArchiveRefusedError):
        prove(io.BytesIO(good[: length % end]))


def test_a_layer_put_in_place_of_another_is_refused(good: bytes) -> None:
    members = unpack(good)
    evil = gzip.compress(b"\0" * 10240, mtime=0)

    def change(_config: dict[str, Any], manifest: dict[str, Any]) -> None:
        manifest["layers"][0] |= {"digest": f"sha256:{blob(evil)[13:]}", "size": len(evil)}

    old = layer_names(members)[0]
    changed = rewritten(members, change) | {blob(evil): evil}
    del changed[old]
    with pytest.raises(ArchiveRefusedError, match="layers the configuration names"):
        prove(pack(changed))


def test_swapped_layers_are_refused(good: bytes) -> None:
    def swap(_config: dict[str, Any], manifest: dict[str, Any]) -> None:
        manifest["layers"].reverse()

    with pytest.raises(ArchiveRefusedError, match="layers the configuration names"):
        prove(pack(rewritten(unpack(good), swap)))


def test_an_extra_blob_is_refused(good: bytes) -> None:
    with pytest.raises(ArchiveRefusedError, match="manifest does not name"):
        prove(pack(unpack(good) | {blob(b"{}"): b"{}"}))


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "repositories", "blobs/sha256/short"])
def test_a_foreign_member_is_refused(good: bytes, name: str) -> None:
    with pytest.raises(ArchiveRefusedError, match="members of an OCI image archive"):
        prove(pack(unpack(good) | {name: b"x"}))


def test_a_link_is_refused(good: bytes) -> None:
    link = tarfile.TarInfo("index.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    members = {k: v for k, v in unpack(good).items() if k != "index.json"}
    with pytest.raises(ArchiveRefusedError, match="members of an OCI image archive"):
        prove(pack(members, link))


def test_a_second_member_of_the_same_name_is_refused(good: bytes) -> None:
    """Readers differ in which of two they take: the proven one might not be the loaded one."""
    again = tarfile.TarInfo("manifest.json")
    with pytest.raises(ArchiveRefusedError, match="each member once"):
        prove(pack(unpack(good), again))


def test_dockers_own_list_may_not_name_another_image(good: bytes) -> None:
    members = unpack(good)
    docker = json.loads(members["manifest.json"])
    docker[0]["Layers"] = docker[0]["Layers"][:1]
    members["manifest.json"] = json.dumps(docker).encode()
    with pytest.raises(ArchiveRefusedError, match="same image"):
        prove(pack(members))


def test_a_decompression_bomb_is_stopped(good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "UNPACKED_MAX", 4096)
    with pytest.raises(ArchiveRefusedError, match="at most 4096 bytes"):
        prove(io.BytesIO(good))


def test_bytes_after_a_layers_end_are_refused(good: bytes) -> None:
    members = unpack(good)
    name = layer_names(members)[0]
    longer = members.pop(name) + b"more"

    def change(_config: dict[str, Any], manifest: dict[str, Any]) -> None:
        manifest["layers"][0] |= {"digest": f"sha256:{blob(longer)[13:]}", "size": len(longer)}

    with pytest.raises(ArchiveRefusedError, match="after a layer's end"):
        prove(pack(rewritten(members, change) | {blob(longer): longer}))


def test_an_endless_json_is_refused(good: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "JSON_MAX", 64)
    with pytest.raises(ArchiveRefusedError, match="bytes of JSON"):
        prove(io.BytesIO(good))


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(b"not a tar at all" * 100)
    with pytest.raises(ArchiveRefusedError):
        prove_file(path)


def test_the_media_types_are_those_of_the_specification() -> None:
    assert oci.LAYER == "application/vnd.oci.image.layer.v1.tar+gzip"
    assert oci.MANIFEST == "application/vnd.oci.image.manifest.v1+json"
