"""What goes into a backup, and how every file is taken at one moment.

Files that stand still are read in place. What changes while the appliance works is copied first:
databases through SQLite's own backup call, the growing end of the audit log under the shared
lock that its writer respects. (The log's full tiles never change and are read in place.)
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from appliance.core.durable import TEMP_PREFIX, os_errors
from appliance.core.errors import BackupSourceChangedError
from appliance.core.home import Home

_SQLITE = b"SQLite format 3\0"
_SIDE_FILES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Planned:
    """One file of the plan; ``copied`` files are read from the scratch folder."""

    path: str
    size: int
    mtime_ns: int
    mode: int
    copied: bool

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form (the time as text: it is larger than JSON's whole numbers)."""
        return asdict(self) | {"mtime_ns": str(self.mtime_ns)}

    @classmethod
    def of(cls, value: dict[str, Any]) -> Planned:
        """Read the JSON form."""
        return cls(**{**value, "mtime_ns": int(value["mtime_ns"])})


def make_plan(home: Home, exclude: tuple[str, ...], scratch: Path) -> list[Planned]:
    """List the state files, sorted, after copying into ``scratch`` what may change."""
    with os_errors(home.root), _log_held(home):
        paths = [p for p in _files(home) if not _left_out(p, exclude)]
        copied = {p for p in paths if _changes(home, p)}
        for inside in sorted(copied):
            _copy(home.root / inside, scratch / inside)
    found = []
    with os_errors(home.root):
        for inside in sorted(paths):
            stat = ((scratch if inside in copied else home.root) / inside).stat()
            mode = stat.st_mode & 0o700 | 0o600
            item = Planned(inside, stat.st_size, stat.st_mtime_ns, mode, inside in copied)
            found.append(item)
    return found


def _files(home: Home) -> Iterator[str]:
    for path in home.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path.relative_to(home.root).as_posix()


def _left_out(inside: str, exclude: tuple[str, ...]) -> bool:
    if any(inside == e or inside.startswith(f"{e}/") or fnmatch(inside, e) for e in exclude):
        return True
    return any(p.startswith(TEMP_PREFIX) for p in inside.split("/")) or inside.endswith(_SIDE_FILES)


def _changes(home: Home, inside: str) -> bool:
    if inside.startswith("audit/"):
        parts = inside.split("/")
        return "tile" not in parts or any(p.endswith(".p") for p in parts)
    return _is_sqlite(home.root / inside)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_SQLITE)) == _SQLITE


@contextlib.contextmanager
def _log_held(home: Home) -> Iterator[None]:
    """Hold each shard's shared lock: the writer puts no new checkpoint in place meanwhile."""
    with contextlib.ExitStack() as held:
        for folder in sorted(home.audit.glob("log-*")):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            held.callback(os.close, fd)
            fcntl.flock(fd, fcntl.LOCK_SH)
        yield


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not _is_sqlite(source):
        shutil.copy2(source, target)
        return
    with (
        contextlib.closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


def place(home: Home, scratch: Path, item: Planned) -> Path:
    """Return where the bytes of ``item`` are read."""
    return (scratch if item.copied else home.root) / item.path


def require_unchanged(path: Path, item: Planned) -> None:
    """Raise when a file is no longer what the plan saw."""
    with os_errors(path):
        stat = path.stat()
    if (stat.st_size, stat.st_mtime_ns) != (item.size, item.mtime_ns):
        raise BackupSourceChangedError(
            expected=f"{item.path} unchanged while it was read", found="another size or time"
        )
