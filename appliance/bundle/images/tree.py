"""A file system tree as values, and its one tar form."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import PurePosixPath
from typing import IO, Literal

# Debian's merged /usr: the packages still name the old places.
MERGED = ("bin", "lib", "lib32", "lib64", "libx32", "sbin")
SETID = 0o6000


@dataclass(frozen=True, slots=True)
class Node:
    """One file, folder or symbolic link. ``read`` gives a file's bytes when they are wanted."""

    kind: Literal["file", "dir", "link"]
    mode: int
    read: Callable[[], bytes] | None = None
    target: str = ""
    uid: int = 0
    gid: int = 0

    def data(self) -> bytes:
        """Return the bytes of a file."""
        assert self.read is not None
        return self.read()


@dataclass
class Tree:
    """Paths (relative, ``/`` between) to nodes."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def put(self, path: str, node: Node) -> None:
        """Add or replace a node; folders above it appear by themselves."""
        clean = merged(path)
        if not clean or (node.kind == "dir" and clean in MERGED):
            return  # a folder of that name would cover the link, and hide the loader behind it
        self.nodes[clean] = node
        for parent in PurePosixPath(clean).parents:
            if str(parent) != ".":
                self.nodes.setdefault(str(parent), Node("dir", 0o755))

    def file(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Add a file whose bytes are at hand."""
        self.put(path, Node("file", mode, lambda: data))

    def link(self, path: str, target: str) -> None:
        """Add a symbolic link."""
        self.put(path, Node("link", 0o777, target=target))

    def folder(self, path: str, *, mode: int = 0o755, uid: int = 0, gid: int = 0) -> None:
        """Add a folder."""
        self.put(path, Node("dir", mode, uid=uid, gid=gid))

    def add(self, other: Tree) -> None:
        """Lay ``other`` over this tree."""
        for path, node in other.nodes.items():
            self.put(path, node)

    def drop(self, prefixes: Iterable[str]) -> None:
        """Remove paths and everything below them; a trailing ``*`` matches the rest of a name."""
        exact = tuple(p for p in prefixes if not p.endswith("*"))
        begins = tuple(p[:-1] for p in prefixes if p.endswith("*"))
        under = tuple(f"{p}/" for p in exact)
        self.nodes = {
            path: node
            for path, node in self.nodes.items()
            if path not in exact
            and not (under and path.startswith(under))
            and not (begins and path.startswith(begins))
        }

    def prune(self) -> None:
        """Remove links that point nowhere inside the tree (absolute or relative targets)."""
        while True:
            gone = [p for p, n in self.nodes.items() if n.kind == "link" and not self._there(p, n)]
            if not gone:
                return
            for path in gone:
                del self.nodes[path]

    def _there(self, path: str, node: Node) -> bool:
        where = resolve(path, node.target)
        return where is None or where == "" or merged(where) in self.nodes or where == "proc"

    def without_setid(self) -> None:
        """Take the setuid and setgid bits away."""
        self.nodes = {
            path: replace(node, mode=node.mode & ~SETID) if node.mode & SETID else node
            for path, node in self.nodes.items()
        }


def merged(path: str) -> str:
    """Return ``path`` with ``bin``, ``lib`` and their like under ``usr``."""
    clean = str(PurePosixPath("/", path.removeprefix("./"))).strip("/")
    first, _, rest = clean.partition("/")
    return f"usr/{clean}" if first in MERGED and rest else clean


def resolve(path: str, target: str) -> str | None:
    """Return where a link leads, or ``None`` for a place the kernel makes (``/proc``, ``/dev``)."""
    base = PurePosixPath("/") if target.startswith("/") else PurePosixPath("/", path).parent
    parts: list[str] = []
    for part in (base / target).parts[1:]:
        if part == "..":
            parts = parts[:-1]
        elif part != ".":
            parts.append(part)
    if parts and parts[0] in {"proc", "dev", "sys", "run"}:
        return None
    return "/".join(parts)


def base_links() -> Tree:
    """Return the links of a merged ``/usr``."""
    tree = Tree()
    for name in ("bin", "lib", "lib64", "sbin"):
        tree.nodes[name] = Node("link", 0o777, target=f"usr/{name}")
        tree.folder(f"usr/{name}")
    return tree


def from_tar(stream: IO[bytes]) -> Tree:
    """Read a tar stream (a package's files). Devices and sockets are refused as ``ValueError``."""
    tree = Tree()
    with tarfile.open(fileobj=stream, mode="r|*") as archive:
        for member in archive:
            if member.isdir():
                tree.put(member.name, Node("dir", member.mode, uid=member.uid, gid=member.gid))
            elif member.issym():
                tree.put(member.name, Node("link", 0o777, target=member.linkname))
            elif member.islnk():
                tree.put(member.name, tree.nodes[merged(member.linkname)])
            elif member.isreg():
                content = archive.extractfile(member)
                assert content is not None
                tree.put(member.name, _held(content.read(), member))
            else:
                raise ValueError(f"neither file, folder nor link: {member.name}")
    return tree


def _held(data: bytes, member: tarfile.TarInfo) -> Node:
    return Node("file", member.mode, lambda: data, uid=member.uid, gid=member.gid)


class Hashing:
    """A writable stream that counts and hashes what passes."""

    def __init__(self, inner: IO[bytes]) -> None:
        """Wrap ``inner``."""
        self._inner = inner
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        """Write, count, hash."""
        self.digest.update(data)
        self.size += len(data)
        return self._inner.write(data)

    def flush(self) -> None:
        """Flush the stream below."""
        self._inner.flush()


def write_tar(tree: Tree, stream: IO[bytes], *, epoch: int) -> None:
    """Write ``tree`` as the one tar it has: sorted paths, one time, numeric owners, no names."""
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(tree.nodes):
            node = tree.nodes[path]
            info = tarfile.TarInfo(path)
            info.mtime, info.mode = epoch, node.mode
            info.uid, info.gid = node.uid, node.gid
            if node.kind == "file":
                data = node.data()
                info.size = len(data)
                archive.addfile(info, BytesIO(data))
                continue
            info.type = tarfile.DIRTYPE if node.kind == "dir" else tarfile.SYMTYPE
            info.linkname = node.target
            archive.addfile(info)
