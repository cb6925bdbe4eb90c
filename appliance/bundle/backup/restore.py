"""``backup verify``, ``restore`` and ``drill``: every byte authenticated before it is used."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from appliance.bundle.backup.create import ESCROW, MANIFEST
from appliance.bundle.backup.header import MAGIC, Secrets, open_header
from appliance.bundle.backup.stream import Opener
from appliance.bundle.paths import why_refused
from appliance.core.canonical import file_hash
from appliance.core.durable import new_folder, os_errors
from appliance.core.errors import BackupDamagedError, BackupLockedError, RestoreRefusedError
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings.backup import BackupSettings

_STEP = 1 << 20
Take = Callable[[str, bytes], None]


def open_stream(stream: BinaryIO, held: Secrets, settings: BackupSettings) -> Opener:
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


def read_members(
    opener: Opener, take: Callable[[tarfile.TarInfo], Take], progress: Progress
) -> dict[str, Any]:
    """Pass each file's bytes to what ``take`` returns for it; return the checked manifest."""
    hashes: dict[str, dict[str, Any]] = {}
    manifest: dict[str, Any] | None = None
    done = 0
    with tarfile.open(fileobj=opener, mode="r|", bufsize=_STEP) as archive:  # type: ignore[call-overload] # only read is used
        for member in archive:
            source = archive.extractfile(member) if member.isfile() else None
            if source is None or why_refused(member.name) or member.name in hashes or manifest:
                raise BackupDamagedError(
                    expected="plain files, each once, then the manifest",
                    found=f"something else at {member.name[:80]!a}",
                )
            if member.name == MANIFEST:
                manifest = json.loads(source.read())
                continue
            sink, digest, size = take(member), hashlib.sha256(), 0
            while data := source.read(_STEP):
                digest.update(data)
                size += len(data)
                sink(member.name, data)
            hashes[member.name] = {"sha256": digest.hexdigest(), "size": size}
            done += size
            progress.update(done, None, member.name)
    opener.drain()
    if manifest is None or manifest.get("files") != hashes:
        raise BackupDamagedError(
            expected="the files that the manifest names", found="others, or no manifest"
        )
    files: dict[str, Any] = manifest["files"]
    return files


def _checked(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return call()
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise BackupDamagedError(expected="a whole backup", found=type(error).__name__) from error


def verify(
    path: Path, held: Secrets, settings: BackupSettings, progress: Progress | None = None
) -> dict[str, Any]:
    """Open every chunk and compare every file with the manifest; nothing is written."""
    with os_errors(path), path.open("rb") as stream:
        opener = open_stream(stream, held, settings)

        def skip(_member: tarfile.TarInfo) -> Take:
            return lambda _name, _data: None

        files = _checked(lambda: read_members(opener, skip, progress or NoProgress()))
    return _summary(files)


def _summary(files: dict[str, Any]) -> dict[str, Any]:
    return {
        "ok": True,
        "files": len(files),
        "bytes": sum(f["size"] for f in files.values()),
        "escrow": ESCROW in files,
    }


class _Writer:
    """Writes members below a folder, each with an exclusive, private file."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fd = -1

    def take(self, member: tarfile.TarInfo) -> Take:
        self.close()
        target = self.root / member.name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        mode = stat.S_IMODE(member.mode) & 0o700 | 0o600
        self._fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        return self._write

    def _write(self, _name: str, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def close(self) -> None:
        if self._fd >= 0:
            os.fsync(self._fd)
            os.close(self._fd)
            self._fd = -1


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
    with os_errors(path), path.open("rb") as stream:
        opener = open_stream(stream, held, settings)
        with new_folder(target) as temp:
            files = _extract(opener, temp, shown)
            if ESCROW in files:
                _open_escrow(temp, held, settings)
    if target.is_dir():
        (target / "keys").mkdir(exist_ok=True, mode=0o700)
        (target / "keys").chmod(0o700)
    return _summary(files) | {"target": str(target), "keys": (target / "audit/keys").is_dir()}


def _extract(opener: Opener, folder: Path, progress: Progress) -> dict[str, Any]:
    writer = _Writer(folder)
    try:
        return _checked(lambda: read_members(opener, writer.take, progress))
    finally:
        writer.close()


def _open_escrow(temp: Path, held: Secrets, settings: BackupSettings) -> None:
    """Open the sealed keys when one of the secrets is an escrow holder's; else leave them."""
    with (temp / ESCROW).open("rb") as stream:
        try:
            opener = open_stream(stream, held, settings)
        except BackupLockedError:
            return
        with tarfile.open(fileobj=opener, mode="r|", bufsize=_STEP) as archive:  # type: ignore[call-overload] # only read is used
            writer = _Writer(temp)
            for member in archive:
                source = archive.extractfile(member) if member.isfile() else None
                if source is None or why_refused(member.name):
                    raise BackupDamagedError(expected="key files", found="something else")
                writer.take(member)(member.name, source.read())
            writer.close()
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
        with os_errors(path), path.open("rb") as stream:
            opener = open_stream(stream, held, settings)
            target.mkdir()
            files = _extract(opener, target, NoProgress())
        wrong = [n for n, f in files.items() if file_hash(target / n) != f["sha256"]]
        if ESCROW in files:
            _open_escrow(target, held, settings)
        log = check_log(target / "audit") if (target / "audit").is_dir() else None
    ok = not wrong and (log is None or bool(log["ok"]))
    return _summary(files) | {"ok": ok, "damaged": wrong, "log": log}
