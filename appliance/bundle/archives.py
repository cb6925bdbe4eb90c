"""Unpacking a proven archive: what even a signed archive may not hold.

CWE-22 (paths and links out of the folder), CWE-250 (setuid), CWE-409 (decompression bombs).
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from appliance.core.durable import os_errors
from appliance.core.errors import ArchiveRefusedError
from appliance.core.settings.bundle import BundleSettings

_SPECIAL_BITS = stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX
_STEP = 1 << 20


@dataclass
class Budget:
    """What an archive may still unpack: bytes, members, and the ratio to its packed size."""

    packed: int
    limits: BundleSettings
    bytes: int = 0
    members: int = 0

    def member(self, name: str) -> None:
        """Count one member."""
        self.members += 1
        if self.members > self.limits.unpack_max_members:
            raise _refused(f"at most {self.limits.unpack_max_members} members", "more", name)

    def take(self, count: int, name: str) -> None:
        """Count ``count`` unpacked bytes, before they are written."""
        self.bytes += count
        allowed = min(
            self.limits.unpack_max_bytes, max(_STEP, self.packed * self.limits.unpack_max_ratio)
        )
        if self.bytes > allowed:
            raise _refused(f"at most {allowed} unpacked bytes", "more: a decompression bomb", name)


def _refused(expected: str, found: str, name: str) -> ArchiveRefusedError:
    return ArchiveRefusedError(expected=expected, found=f"{found}, at {name[:80]!a}")


def safe_members(archive: tarfile.TarFile, budget: Budget) -> Iterator[tarfile.TarInfo]:
    """Yield the members that may be unpacked; the first one that may not stops everything."""
    for member in archive:
        name = member.name.removeprefix("./").rstrip("/")
        budget.member(name)
        if name in {"", "."}:
            continue
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name:
            raise _refused("relative paths without '..'", "a path out of the folder", name)
        if member.mode & _SPECIAL_BITS and not member.isdir():
            raise _refused("no setuid, setgid or sticky files", oct(member.mode), name)
        if not (member.isfile() or member.isdir() or member.issym() or member.islnk()):
            raise _refused("files, folders and links", "a device or a fifo", name)
        if member.issym() or member.islnk():
            _check_link(member, pure)
        member.name = name
        yield member


def _check_link(member: tarfile.TarInfo, pure: PurePosixPath) -> None:
    target = PurePosixPath(member.linkname)
    start = pure.parent if member.issym() else PurePosixPath()
    depth = len(start.parts)
    for part in target.parts:
        depth += -1 if part == ".." else int(part not in {".", ""})
        if depth < 0:
            break
    if target.is_absolute() or depth < 0:
        raise _refused("links that stay inside", f"a link to {member.linkname[:80]!a}", pure.name)


def unpack(source: Path, target: Path, limits: BundleSettings) -> int:
    """Unpack a tar archive of any compression into ``target``; return the unpacked bytes.

    Files are created with modes 0644 or 0755 and owned by the caller; links are made only when
    every folder on their way is a real folder of this archive.
    """
    budget = Budget(source.stat().st_size, limits)
    with os_errors(target):
        target.mkdir(parents=True, exist_ok=True)
        try:
            with tarfile.open(source, "r:*") as archive:
                for member in safe_members(archive, budget):
                    _make(archive, member, target, budget)
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise ArchiveRefusedError(
                expected=f"a whole tar archive {source.name}", found=type(error).__name__
            ) from error
    return budget.bytes


def _make(archive: tarfile.TarFile, member: tarfile.TarInfo, root: Path, budget: Budget) -> None:
    target = root / member.name
    for parent in reversed(PurePosixPath(member.name).parents):
        if (root / parent).is_symlink():
            raise _refused("folders on the way", "a link on the way", member.name)
    if member.isdir():
        if target.is_symlink():
            raise _refused("a folder", "a link of the same name", member.name)
        target.mkdir(parents=True, exist_ok=True)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        raise _refused("each path once", "the same path again", member.name)
    if member.issym():
        target.symlink_to(member.linkname)
    elif member.islnk():
        linked = root / member.linkname.removeprefix("./")
        if linked.is_symlink() or not linked.is_file():
            raise _refused("hard links to files of this archive", member.linkname, member.name)
        os.link(linked, target, follow_symlinks=False)
    else:
        stream = archive.extractfile(member)
        if stream is not None:
            _write(stream, target, member, budget)


def _write(stream: IO[bytes], target: Path, member: tarfile.TarInfo, budget: Budget) -> None:
    mode = 0o755 if member.mode & 0o100 else 0o644
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(target, flags, mode), "wb") as out:
        while data := stream.read(_STEP):
            budget.take(len(data), member.name)
            out.write(data)
