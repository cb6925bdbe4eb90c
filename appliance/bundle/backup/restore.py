"""``backup verify``, ``restore`` and ``drill``: every byte authenticated before it is used."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from appliance.bundle.backup.behind import Behind
from appliance.bundle.backup.create import ESCROW, MANIFEST
from appliance.bundle.backup.header import MAGIC, Secrets, open_header
from appliance.bundle.backup.stream import Opener
from appliance.bundle.paths import why_refused
from appliance.core.canonical import file_hash
from appliance.core.durable import new_folder, os_errors
from appliance.core.errors import BackupDamagedError, BackupLockedError, RestoreRefusedError
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings.backup import BackupSettings

_STEP = 256 << 10  # larger ones are given back to the system each time, and cleared again
STEPS_BEHIND = 8  # read and not yet hashed and written; each keeps its bytes in memory
FLUSHES_BEHIND = 64  # files written and not yet flushed; each keeps a descriptor
FLUSH_BYTES = 32 << 20  # of a large file: the disk works while more is opened


def open_stream(stream: io.BufferedIOBase, held: Secrets, settings: BackupSettings) -> Opener:
    """Read and open the header; return the stream of authenticated plain bytes."""
    if stream.read(len(MAGIC)) != MAGIC:
        raise BackupDamagedError(expected="a backup of this appliance", found="another file")
    line = stream.readline(settings.header_max_bytes)
    if not line.endswith(b"\n"):
        raise BackupDamagedError(
            expected=f"a header of at most {settings.header_max_bytes} bytes", found="more"
        )
    header = MAGIC + line
    opened = open_header(header, held, settings)
    return Opener(opened.payload_key, stream, opened.chunk_bytes)


@contextmanager
def _opened(path: Path, held: Secrets, settings: BackupSettings) -> Iterator[Opener]:
    with (
        os_errors(path),
        path.open("rb") as stream,
        closing(open_stream(stream, held, settings)) as opener,
    ):
        yield opener


class Sink:
    """Takes each file and its bytes, in a thread of its own; this one forgets them."""

    def begin(self, member: tarfile.TarInfo) -> None:
        """Take the next file; the one before is whole."""

    def write(self, data: bytes) -> None:
        """Take the file's next bytes."""


def read_members(opener: Opener, sink: Sink, progress: Progress) -> dict[str, Any]:
    """Pass each file's bytes to ``sink`` and hash them; return the checked manifest."""
    found: dict[str, tuple[hashlib._Hash, int]] = {}
    manifest: dict[str, Any] | None = None
    done = 0
    with (
        Behind("take", STEPS_BEHIND) as behind,
        tarfile.open(fileobj=opener, mode="r|", bufsize=_STEP) as archive,  # type: ignore[call-overload] # only read is used
    ):
        for member in archive:
            source = archive.extractfile(member) if member.isfile() else None
            if source is None or why_refused(member.name) or member.name in found or manifest:
                raise BackupDamagedError(
                    expected="plain files, each once, then the manifest",
                    found=f"something else at {member.name[:80]!a}",
                )
            if member.name == MANIFEST:
                manifest = json.loads(source.read())
                continue
            behind.do(sink.begin, member)
            digest, size = hashlib.sha256(), 0
            while data := source.read(_STEP):
                behind.do(_take, digest, sink, data)
                size += len(data)
            found[member.name] = (digest, size)
            done += size
            progress.update(done, None, member.name)
        behind.wait()
    opener.drain()
    hashes = {n: {"sha256": d.hexdigest(), "size": size} for n, (d, size) in found.items()}
    if manifest is None or manifest.get("files") != hashes:
        raise BackupDamagedError(
            expected="the files that the manifest names", found="others, or no manifest"
        )
    files: dict[str, Any] = manifest["files"]
    return files


def _take(digest: hashlib._Hash, sink: Sink, data: bytes) -> None:
    digest.update(data)
    sink.write(data)


def _checked(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return call()
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BackupDamagedError(expected="a whole backup", found=type(error).__name__) from error


def verify(
    path: Path, held: Secrets, settings: BackupSettings, progress: Progress | None = None
) -> dict[str, Any]:
    """Open every chunk and compare every file with the manifest; nothing is written."""
    with _opened(path, held, settings) as opener:
        files = _checked(lambda: read_members(opener, Sink(), progress or NoProgress()))
    return _summary(files)


def _summary(files: dict[str, Any]) -> dict[str, Any]:
    return {
        "ok": True,
        "files": len(files),
        "bytes": sum(f["size"] for f in files.values()),
        "escrow": ESCROW in files,
    }


class _Writer(Sink):
    """Writes members below a folder, each with an exclusive, private file.

    Another thread flushes what was written; leaving the block does not wait for it, so
    :meth:`finish` must be called where the bytes are to be on the disk.
    """

    def __init__(self, root: Path, work: ExitStack) -> None:
        self.root = root
        self._opened: set[int] = set()
        work.callback(self._abandon)
        self.flusher = work.enter_context(Behind("flush", FLUSHES_BEHIND))
        self._fd = -1
        self._unflushed = 0

    def begin(self, member: tarfile.TarInfo) -> None:
        self._end()
        target = self.root / member.name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        mode = stat.S_IMODE(member.mode) & 0o700 | 0o600
        self._fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        self._opened.add(self._fd)

    def write(self, data: bytes) -> None:
        with os_errors(self.root):
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
        self._unflushed += len(data)
        if self._unflushed >= FLUSH_BYTES:
            self._unflushed = 0
            self.flusher.do(self._flush, self._fd)

    def _flush(self, fd: int) -> None:
        with os_errors(self.root):
            os.fdatasync(fd)

    def _close(self, fd: int) -> None:
        with os_errors(self.root):
            os.fsync(fd)
            self._opened.remove(fd)
            os.close(fd)

    def _abandon(self) -> None:
        for fd in self._opened:
            os.close(fd)

    def _end(self) -> None:
        if self._fd >= 0:
            self.flusher.do(self._close, self._fd)
            self._fd, self._unflushed = -1, 0

    def finish(self) -> None:
        """Wait until everything is flushed."""
        self._end()
        self.flusher.wait()


def restore(
    path: Path,
    target: Path,
    held: Secrets,
    settings: BackupSettings,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Restore into ``target``, which must be absent or empty; whole or not at all."""
    with os_errors(target):
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise RestoreRefusedError(
                expected=f"an empty folder at {target}", found="something in it"
            )
    shown = progress or NoProgress()
    with _opened(path, held, settings) as opener, new_folder(target) as temp:
        files = _extract(opener, temp, shown)
        if ESCROW in files:
            _open_escrow(temp, held, settings)
    if target.is_dir():
        (target / "keys").mkdir(exist_ok=True, mode=0o700)
        (target / "keys").chmod(0o700)
    return _summary(files) | {"target": str(target), "keys": (target / "audit/keys").is_dir()}


def _extract(opener: Opener, folder: Path, progress: Progress) -> dict[str, Any]:
    with ExitStack() as work:
        writer = _Writer(folder, work)
        files = _checked(lambda: read_members(opener, writer, progress))
        writer.finish()
    return files


def _open_escrow(temp: Path, held: Secrets, settings: BackupSettings) -> None:
    """Open the sealed keys when one of the secrets is an escrow holder's; else leave them."""
    with ExitStack() as work:
        try:
            opener = work.enter_context(_opened(temp / ESCROW, held, settings))
        except BackupLockedError:
            return
        archive = work.enter_context(tarfile.open(fileobj=opener, mode="r|", bufsize=_STEP))  # type: ignore[call-overload] # only read is used
        writer = _Writer(temp, work)
        for member in archive:
            source = archive.extractfile(member) if member.isfile() else None
            if source is None or why_refused(member.name):
                raise BackupDamagedError(expected="key files", found="something else")
            writer.begin(member)
            writer.write(source.read())
        writer.finish()
        opener.drain()
    (temp / ESCROW).unlink()


def drill(
    path: Path,
    held: Secrets,
    settings: BackupSettings,
    scratch: Path,
    check_log: Callable[[Path], dict[str, Any]],
) -> dict[str, Any]:
    """Restore into a temporary folder, read every file back, verify the log; leave nothing."""
    with os_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="drill-", dir=scratch) as folder:
        target = Path(folder) / "home"
        with _opened(path, held, settings) as opener:
            target.mkdir()
            files = _extract(opener, target, NoProgress())
        wrong = [n for n, f in files.items() if file_hash(target / n) != f["sha256"]]
        if ESCROW in files:
            _open_escrow(target, held, settings)
        log = check_log(target / "audit") if (target / "audit").is_dir() else None
    ok = not wrong and (log is None or bool(log["ok"]))
    return _summary(files) | {"ok": ok, "damaged": wrong, "log": log}
