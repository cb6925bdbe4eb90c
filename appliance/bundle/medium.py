"""Reading the medium: regular files only, no link ever followed, every entry listed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from appliance.core.durable import fsync_dir
from appliance.core.errors import BundleDamagedError, BundleForeignFileError

FileKind = Literal["file", "folder", "link", "special"]


@dataclass(frozen=True)
class Found:
    """Something that lies on the medium."""

    path: str
    kind: FileKind
    length: int = 0


class Source(Protocol):
    """An open file of the medium."""

    def readinto(self, buffer: memoryview, /) -> int | None:
        """Read some bytes into ``buffer``; 0 at the end."""
        ...

    def close(self) -> None:
        """Let the file go."""
        ...


class Medium(Protocol):
    """What carries a bundle: a folder of a mounted stick; in tests a dictionary."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    def open(self, path: str) -> Source:
        """Open a regular file; raise ``OSError`` or :class:`BundleForeignFileError`."""
        ...

    def walk(self) -> Iterator[Found]:
        """Yield everything below the root, links and special files included."""
        ...


class FolderMedium:
    """A folder, opened part by part so that no symlink is followed, not even one just made."""

    def __init__(self, root: Path) -> None:
        """Read the medium mounted at ``root``."""
        self.root = root

    @property
    def name(self) -> str:
        """Return the folder's path."""
        return str(self.root)

    def open(self, path: str) -> Source:
        """Open ``path`` below the root (CWE-59, CWE-367: the opened file is what is read)."""
        parts = path.split("/")
        folder = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts[:-1]:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(part, flags, dir_fd=folder)
                os.close(folder)
                folder = inner
            # O_NONBLOCK: a FIFO put in place of a file must not stop us.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(parts[-1], flags, dir_fd=folder)
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENXIO}:
                raise _foreign(path, "a link or special file") from error
            raise
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise _foreign(path, "not a regular file")
        return os.fdopen(fd, "rb", buffering=0)

    def walk(self) -> Iterator[Found]:
        """Yield everything below the root; folders that cannot be listed raise ``OSError``."""
        yield from self._walk(self.root, "")

    def _walk(self, folder: Path, prefix: str) -> Iterator[Found]:
        with os.scandir(folder) as listing:
            for item in sorted(listing, key=lambda e: e.name):
                path = prefix + item.name
                if item.is_symlink():
                    yield Found(path, "link")
                elif item.is_dir(follow_symlinks=False):
                    yield Found(path, "folder")
                    yield from self._walk(Path(item.path), path + "/")
                elif item.is_file(follow_symlinks=False):
                    yield Found(path, "file", item.stat(follow_symlinks=False).st_size)
                else:
                    yield Found(path, "special")

    def replace(self, path: str, temp: Path) -> None:
        """Put the proven file ``temp`` (on the same medium) in place of ``path``, durably."""
        target = self.root / path
        if target.is_dir() and not target.is_symlink():
            raise _foreign(path, "a folder in place of a file")
        target.parent.mkdir(parents=True, exist_ok=True)
        temp.replace(target)
        fsync_dir(target.parent)


def _foreign(path: str, what: str) -> BundleForeignFileError:
    return BundleForeignFileError(expected=f"a regular file at {path}", found=what)


def read_small(medium: Medium, path: str, limit: int) -> bytes:
    """Read a whole small file; more than ``limit`` bytes are refused (endless data)."""
    source = medium.open(path)
    try:
        data = bytearray()
        buffer = memoryview(bytearray(65_536))
        while count := source.readinto(buffer):
            data += buffer[:count]
            if len(data) > limit:
                raise BundleDamagedError(
                    expected=f"at most {limit} bytes in {path}", found="more, perhaps endless"
                )
        return bytes(data)
    finally:
        source.close()
