from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.images.recipe import Image
from appliance.bundle.images.rules import faults, require, require_size
from appliance.bundle.images.tree import (
    Node,
    Tree,
    base_links,
    from_tar,
    merged,
    resolve,
    write_tar,
)
from appliance.core.errors import ImageRefusedError

SERVICE = Image(title="a service", user=10001, size_limit_mb=1)


def a_tar(*members: tarfile.TarInfo) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    stream.seek(0)
    return stream


def member(
    name: str, kind: bytes = tarfile.REGTYPE, *, link: str = "", mode: int = 0o644
) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, mode
    info.size = 3 if kind == tarfile.REGTYPE else 0
    return info


def test_old_places_move_under_usr_and_never_cover_the_links() -> None:
    read = from_tar(
        a_tar(member("./lib/", tarfile.DIRTYPE), member("./lib/a.so"), member("./bin/b"))
    )
    assert set(read.nodes) == {"usr", "usr/lib", "usr/lib/a.so", "usr/bin", "usr/bin/b"}
    read.add(base_links())
    read.folder("lib")
    assert read.nodes["lib"] == Node("link", 0o777, target="usr/lib")


def test_a_hard_link_becomes_the_same_file() -> None:
    read = from_tar(a_tar(member("a"), member("b", tarfile.LNKTYPE, link="a")))
    assert read.nodes["b"].data() == b"xxx"


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(kind: bytes) -> None:
    with pytest.raises(ValueError, match="neither"):
        from_tar(a_tar(member("dev/x", kind)))


def test_dropping_takes_folders_whole_and_names_by_their_beginning() -> None:
    tree = Tree()
    for path in ("usr/lib/test/a", "usr/lib/test_b.so", "usr/lib/tested", "usr/lib/x"):
        tree.file(path, b"")
    tree.drop(["usr/lib/test", "usr/lib/test_*"])
    assert {p for p, n in tree.nodes.items() if n.kind == "file"} == {"usr/lib/tested", "usr/lib/x"}


def test_links_to_nothing_are_pruned_and_those_to_the_kernel_stay() -> None:
    tree = Tree()
    tree.file("usr/lib/a.so.1", b"")
    tree.link("usr/lib/a.so", "a.so.1")
    tree.link("usr/lib/gone", "../share/gone")
    tree.link("usr/lib/again", "gone")
    tree.link("etc/mtab", "/proc/mounts")
    tree.prune()
    assert "usr/lib/a.so" in tree.nodes and "etc/mtab" in tree.nodes
    assert "usr/lib/gone" not in tree.nodes and "usr/lib/again" not in tree.nodes


@given(st.lists(st.sampled_from(["..", ".", "a", "usr", "lib"]), max_size=8))
def test_no_path_leaves_the_tree(parts: list[str]) -> None:
    place = merged("/".join(parts))
    assert not place.startswith("/")
    found = resolve("usr/lib/x", "/".join(parts) or "y")
    assert found is None or ".." not in found.split("/")


def test_the_tar_is_sorted_owned_by_number_and_of_one_time() -> None:
    tree = Tree()
    tree.file("b", b"2")
    tree.file("a", b"1", mode=0o755)
    tree.folder("c", mode=0o750, uid=7, gid=8)
    out = io.BytesIO()
    write_tar(tree, out, epoch=99)
    out.seek(0)
    with tarfile.open(fileobj=out) as archive:
        members = archive.getmembers()
    assert [m.name for m in members] == ["a", "b", "c"]
    assert {m.mtime for m in members} == {99} and {m.uname for m in members} == {""}
    assert (members[2].uid, members[2].gid, members[2].mode) == (7, 8, 0o750)


@pytest.mark.parametrize(
    ("path", "node", "word"),
    [
        ("usr/bin/su", Node("file", 0o4755, lambda: b""), "setuid"),
        ("usr/bin/wall", Node("file", 0o2755, lambda: b""), "setgid"),
        ("srv/open", Node("dir", 0o777), "writable for all"),
        ("usr/bin/sh", Node("link", 0o777, target="dash"), "a shell"),
        ("usr/bin/apt-get", Node("file", 0o755, lambda: b""), "package manager"),
        ("usr/local/lib/x.pth", Node("file", 0o644, lambda: b""), "every start"),
        ("models/m.gguf", Node("file", 0o644, lambda: b"\0" * (1 << 20)), "weights"),
        ("usr/share/renamed", Node("file", 0o644, lambda: b"GGUF" + b"\0" * (1 << 20)), "weights"),
        ("x/pytorch_model.bin", Node("file", 0o644, lambda: b""), "weights"),
    ],
)
def test_what_no_image_may_hold_is_refused(path: str, node: Node, word: str) -> None:
    tree = Tree({path: node})
    assert any(word in fault for fault in faults(tree, SERVICE))
    with pytest.raises(ImageRefusedError, match=word):
        require("test", tree, SERVICE)


def test_tmp_and_ordinary_files_are_fine() -> None:
    tree = Tree()
    tree.folder("tmp", mode=0o1777)
    tree.file("usr/bin/python3.11", b"x", mode=0o755)
    assert faults(tree, SERVICE) == []


def test_setuid_bits_are_taken_away() -> None:
    tree = Tree({"usr/bin/su": Node("file", 0o6755, lambda: b"")})
    tree.without_setid()
    assert tree.nodes["usr/bin/su"].mode == 0o755


def test_an_image_beyond_its_size_is_refused() -> None:
    require_size("test", 1_000_000, SERVICE)
    with pytest.raises(ImageRefusedError, match="at most 1 MB"):
        require_size("test", 1_000_001, SERVICE)
