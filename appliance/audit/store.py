"""The tlog-tiles folder on the disk, as the writer keeps it.

A tile is written beside its place and renamed, so a reader sees whole tiles only. The tiles of a
checkpoint stand before the checkpoint does; they are flushed before the write-ahead segment that
could make them again is removed. Partial tiles of an older checkpoint go when the next stands.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from appliance.audit.layout import CHECKPOINT, WAL
from appliance.audit.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, read_bundle, tile_path
from appliance.audit.wal import segments
from appliance.core.durable import TEMP_PREFIX, fsync_dir, write_bytes

LOCK_TRIES = 100
LOCK_PAUSE_S = 0.05


class TileStore:
    """Writes one shard's tiles and checkpoint. One thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._unsynced: set[Path] = set()
        self._partials: set[str] = set()

    def write(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Put complete or partial tiles in place (not yet flushed)."""
        for name, data in files:
            path = self.folder / name
            temp = path.with_name(TEMP_PREFIX + path.name)
            try:
                fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            except FileNotFoundError:
                path.parent.mkdir(parents=True, exist_ok=True)
                fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
            finally:
                os.close(fd)
            temp.replace(path)
            self._unsynced.add(path)

    def publish(self, note: bytes, partials: list[tuple[str, bytes]]) -> None:
        """Put the partial tiles and then the checkpoint in place; drop older partial tiles."""
        with self.changing():
            self.write(partials)
            write_bytes(self.folder / CHECKPOINT, note)
            names = {name for name, _ in partials}
            for name in self._partials - names:
                self._drop(self.folder / name)
            self._partials = names

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Keep a verifier's snapshot and a change of checkpoint apart, for a while.

        A reader that holds the lock too long is not waited for: the log goes on.
        """
        import time

        fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for _ in range(LOCK_TRIES):
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    time.sleep(LOCK_PAUSE_S)
            yield
        finally:
            os.close(fd)

    def sync(self) -> None:
        """Flush every tile written so far, and the folders they stand in."""
        folders: set[Path] = set()
        for path in sorted(self._unsynced):
            for parent in path.parents:
                folders.add(parent)
                if parent == self.folder:
                    break
            try:
                fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue  # a partial tile that has since been dropped
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        for folder in folders:
            if folder.is_dir():
                fsync_dir(folder)
        self._unsynced.clear()

    def retire(self, start: int) -> None:
        """Flush the tiles, then remove the write-ahead segments before ``start``."""
        self.sync()
        for first, path in segments(self.folder / WAL):
            if first < start:
                path.unlink()
        fsync_dir(self.folder / WAL)

    def entry(self, index: int) -> bytes:
        """Read a stored entry; raises ``LookupError`` or ``ValueError``."""
        n, offset = divmod(index, TILE_WIDTH)
        return read_bundle(self.folder, n, offset + 1)[offset]

    def sweep(self, start: int, size: int, keep: Iterable[str]) -> None:
        """Remove what a crash left: temporary files, and partial tiles of other checkpoints."""
        self._partials = set(keep)
        for temp in (self.folder / "tile").rglob(f"{TEMP_PREFIX}*"):
            temp.unlink(missing_ok=True)
        for level in (ENTRIES, *range(8)):
            shift = TILE_HEIGHT * ((level if isinstance(level, int) else 0) + 1)
            for n in range(start >> shift, (size >> shift) + 1):
                folder = self.folder / f"{tile_path(level, n)}.p"
                for path in folder.iterdir() if folder.is_dir() else ():
                    if path.relative_to(self.folder).as_posix() not in self._partials:
                        self._drop(path)

    def _drop(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._unsynced.discard(path)
        with contextlib.suppress(OSError):  # other partial tiles may still stand there
            path.parent.rmdir()
