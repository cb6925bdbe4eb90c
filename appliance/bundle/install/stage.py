"""Copying a bundle into staging: each block is proven by the same read that copies it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from appliance.bundle.install.store import Version
from appliance.bundle.medium import FolderMedium, Medium
from appliance.bundle.model import Chunk, Entry
from appliance.bundle.prove import Sink, Wanted, prove
from appliance.bundle.trust import Trusted
from appliance.core.durable import fsync_dir, os_errors
from appliance.core.errors import ApplianceError, BundleDamagedError, DiskFullError
from appliance.core.progress import Progress
from appliance.core.settings.bundle import BundleSettings

PART = ".part"
Hook = Callable[[str], None]


def no_hook(_step: str) -> None:
    """Do nothing: tests put faults here."""


@dataclass(frozen=True)
class Held:
    """A block that an installed version holds."""

    path: Path
    offset: int


def held_by(version: Version | None) -> dict[str, Held]:
    """Return the blocks of an installed version; they are proven again when they are used."""
    if version is None:
        return {}
    return {
        c.sha256: Held(version.content / e.path, c.offset)
        for e in version.entries()
        for c in e.chunks
    }


class Stager:
    """Fills one staging folder. Files carry ``.part`` until all their blocks are proven."""

    def __init__(
        self,
        medium: Medium,
        content: Path,
        limits: BundleSettings,
        held: dict[str, Held],
        hook: Hook = no_hook,
    ) -> None:
        """Copy from ``medium`` (and ``held`` for a difference bundle) into ``content``."""
        self.medium, self.content, self.limits = medium, content, limits
        self.held, self.hook = held, hook
        self.bytes = 0
        self.resumed = 0
        self._local = threading.local()

    def run(self, trusted: Trusted, progress: Progress) -> None:
        """Copy and prove everything; the first block that fails stops the rest."""
        total = sum(e.length for e in trusted.entries)
        with ThreadPoolExecutor(self.limits.workers, thread_name_prefix="stage") as pool:
            for entry in trusted.entries:
                self.hook(f"stage:{entry.path}")
                self._file(entry, pool)
                self.bytes += entry.length
                progress.update(self.bytes, total, entry.path)
        for folder in [self.content, *(p for p in self.content.rglob("*") if p.is_dir())]:
            fsync_dir(folder)

    def _file(self, entry: Entry, pool: ThreadPoolExecutor) -> None:
        final = self.content / entry.path
        part = final.with_name(final.name + PART)
        with os_errors(part):
            part.parent.mkdir(parents=True, exist_ok=True)
            if final.is_file() and not final.is_symlink():
                final.replace(part)  # an earlier, interrupted run: proven again from here
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(part, flags, 0o644)
            try:
                there = os.fstat(fd).st_size
                os.ftruncate(fd, entry.length)
                jobs = [pool.submit(self._block, entry, c, fd, there) for c in entry.chunks]
                self._collect(jobs)
                os.fsync(fd)
            finally:
                os.close(fd)
            part.replace(final)

    @staticmethod
    def _collect(jobs: list[Future[None]]) -> None:
        try:
            for job in jobs:
                job.result()
        finally:
            for job in jobs:
                job.cancel()
            wait(jobs)

    def _block(self, entry: Entry, chunk: Chunk, fd: int, there: int) -> None:
        if not hasattr(self._local, "buffer"):
            self._local.buffer = memoryview(bytearray(self.limits.buffer_bytes))
        buffer: memoryview = self._local.buffer
        what = f"{entry.path} from byte {chunk.offset}"
        wanted = Wanted(entry.chunk_path(chunk), chunk.length, chunk.sha256, what)
        if there >= chunk.offset + chunk.length and self._already(fd, wanted, chunk, buffer):
            self.resumed += chunk.length
            return
        sink = _sink(fd, chunk.offset)
        held = self.held.get(chunk.sha256)
        if not chunk.absent:
            prove(self.medium, wanted, buffer, sink)
        elif held is None:
            raise BundleDamagedError(
                expected=f"{what} in the installed base version",
                found="it is not there",
                remedy="Install the full bundle instead of the difference bundle.",
            )
        else:
            prove(_Window(held, chunk.length), wanted, buffer, sink)

    @staticmethod
    def _already(fd: int, wanted: Wanted, chunk: Chunk, buffer: memoryview) -> bool:
        """Prove a block from the staging file itself, so that a resumed copy trusts nothing."""
        try:
            prove(_Staged(fd, chunk.offset, chunk.length), wanted, buffer)
        except ApplianceError:
            return False
        return True


def _sink(fd: int, base: int) -> Sink:
    def write(data: memoryview, at: int) -> None:
        try:
            done = 0
            while done < len(data):
                done += os.pwrite(fd, data[done:], base + at + done)
        except OSError as error:
            raise DiskFullError(
                expected="space for the staged files", found=error.strerror or "write error"
            ) from error

    return write


class _Staged(FolderMedium):
    """One block of a file that is being staged, read through the same descriptor."""

    def __init__(self, fd: int, offset: int, length: int) -> None:
        super().__init__(Path())
        self._fd, self._at, self._end = fd, offset, offset + length

    def open(self, path: str) -> _Staged:  # noqa: ARG002 - there is only this block
        return self

    def readinto(self, buffer: memoryview, /) -> int:
        count = min(len(buffer), self._end - self._at)
        if count <= 0:
            return 0
        read = os.preadv(self._fd, [buffer[:count]], self._at)
        self._at += read
        return read

    def close(self) -> None:
        return


class _Window(FolderMedium):
    """One block of an installed file."""

    def __init__(self, held: Held, length: int) -> None:
        super().__init__(held.path.parent)
        self._held, self._length = held, length

    def open(self, path: str) -> _Closing:  # noqa: ARG002 - there is only this block
        fd = os.open(self._held.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return _Closing(fd, self._held.offset, self._length)


class _Closing(_Staged):
    def close(self) -> None:
        os.close(self._fd)


def remove_strangers(content: Path, entries: Sequence[Entry]) -> None:
    """Remove what an earlier, other copy left in staging: only proven files go on."""
    listed = {e.path for e in entries}
    for path in sorted(content.rglob("*"), reverse=True):
        name = path.relative_to(content).as_posix()
        if path.is_symlink() or (path.is_file() and name.removesuffix(PART) not in listed):
            path.unlink()
