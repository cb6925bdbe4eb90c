"""Files that are either whole or absent, also after a power cut.

A write goes to a temporary file in the same folder, is flushed to the disk, renamed over the
target, and the folder is flushed: a reader sees the old bytes or the new ones, never a part.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from appliance.core.canonical import canonical_json
from appliance.core.errors import (
    ApplianceError,
    BusyError,
    DiskFullError,
    HomeUnusableError,
    InputMissingError,
    StateDamagedError,
)

TEMP_PREFIX = ".tmp-"


@contextlib.contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about ``path`` into the appliance's own."""
    try:
        yield
    except OSError as error:
        raise from_os_error(error, path) from error


def from_os_error(error: OSError, path: Path) -> ApplianceError:
    """Return the appliance's error for ``error`` met at ``path``."""
    name = errno.errorcode.get(error.errno or 0, "unknown")
    found = f"{error.strerror or error} ({name}) at {path}"
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return DiskFullError(expected="enough free space to write the file", found=found)
    if error.errno in {errno.ENOENT, errno.EISDIR, errno.ENOTDIR}:
        return InputMissingError(expected="a file that can be read", found=found)
    return HomeUnusableError(expected="a folder that can be read and written", found=found)


def fsync_dir(folder: Path) -> None:
    """Flush a folder, so that a rename in it survives a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_bytes(path: Path, data: bytes, *, mode: int = 0o640) -> None:
    """Replace ``path`` by ``data``, atomically and durably."""
    temp = path.with_name(f"{TEMP_PREFIX}{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(fd, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            temp.replace(path)
            fsync_dir(path.parent)
        except BaseException:
            with contextlib.suppress(OSError):
                temp.unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any, *, mode: int = 0o640) -> None:
    """Replace ``path`` by the canonical JSON of ``value`` and a final newline."""
    write_bytes(path, canonical_json(value) + b"\n", mode=mode)


def read_json(path: Path) -> Any:
    """Read a JSON file of the appliance's own state; damaged state is an error, not a guess."""
    with os_errors(path):
        data = path.read_bytes()
    try:
        return json.loads(data)
    except ValueError as error:
        raise StateDamagedError(
            expected=f"JSON in {path}", found=f"{type(error).__name__}"
        ) from error


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``target`` when the block ends well.

    Every file in it is flushed before the rename; when the block fails nothing remains.
    """
    with os_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    temp = target.with_name(f"{TEMP_PREFIX}{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os_errors(target):
            temp.mkdir(mode=0o750)
        yield temp
        with os_errors(target):
            for path in temp.rglob("*"):
                if path.is_file() and not path.is_symlink():
                    with path.open("rb") as stream:
                        os.fsync(stream.fileno())
                elif path.is_dir():
                    fsync_dir(path)
            fsync_dir(temp)
            if target.exists():
                shutil.rmtree(target)
            temp.rename(target)
            fsync_dir(target.parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def sweep_temporaries(folder: Path) -> int:
    """Remove what earlier, interrupted writes left in ``folder`` (one level); return how many."""
    left = list(folder.glob(f"{TEMP_PREFIX}*")) if folder.is_dir() else []
    for path in left:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return len(left)


@contextlib.contextmanager
def exclusive(path: Path, *, what: str) -> Iterator[None]:
    """Hold the lock file ``path`` or raise :class:`BusyError` naming the holder's process id.

    The kernel drops the lock when its holder dies, so a crash never leaves it behind.
    """
    with os_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise BusyError(
                expected=f"no other {what} on this home", found=f"process {holder} holds {path}"
            ) from error
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)
