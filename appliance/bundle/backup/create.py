"""``backup create``: the home as one sealed stream, resumable after any interruption."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import secrets
import shutil
import tarfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from appliance.bundle.backup.behind import Behind
from appliance.bundle.backup.header import Recipients, payload_key, seal
from appliance.bundle.backup.plan import Planned, make_plan, place, require_unchanged
from appliance.bundle.backup.stream import OVERHEAD, Sealer
from appliance.core.canonical import canonical_json, sha256_hex
from appliance.core.durable import (
    exclusive,
    fsync_dir,
    os_errors,
    read_json,
    write_bytes,
    write_json,
)
from appliance.core.errors import ApplianceError, BackupSourceChangedError, RestoreRefusedError
from appliance.core.home import Home
from appliance.core.progress import NoProgress, Progress
from appliance.core.settings.backup import BackupSettings

MANIFEST = "MANIFEST.json"
ESCROW = "escrow/keys.backup"
STATE = "state.json"
SAFE = "safe.json"
BLOCK = 512  # tar's unit (POSIX pax)
RECORD = 20 * BLOCK  # what an archive's length is a multiple of
CHUNKS_BEHIND = 3  # sealed and not yet written: enough for a short wait of the disk
HASHES_BEHIND = 4
SMALL = 64 << 10  # a file below it is hashed here: another thread would cost more
KEY_FOLDERS = ("keys", "audit/keys")
Hook = Callable[[str], None]


@dataclass(frozen=True)
class Wish:
    """What to write and for whom; ``escrow`` opens the keys, ``recipients`` the rest."""

    out: Path
    recipients: Recipients
    escrow: Recipients | None = None


@dataclass
class _Run:
    """A backup under way: everything needed to go on after a power cut."""

    folder: Path
    out: Path
    header: bytes
    file_key: bytes
    plan: list[Planned]
    attempt: int = 0
    chunks: int = 0

    @property
    def part(self) -> Path:
        return self.out.with_name(f"{self.out.name}.part")

    @property
    def scratch(self) -> Path:
        return self.folder / "copies"

    def save(self) -> None:
        """Keep what stays the same during an attempt."""
        write_json(
            self.folder / STATE,
            {
                "out": str(self.out),
                "header": base64.b64encode(self.header).decode(),
                "file_key": base64.b64encode(self.file_key).decode(),
                "plan": [p.to_dict() for p in self.plan],
                "attempt": self.attempt,
            },
            mode=0o600,
        )

    def note(self, chunks: int) -> None:
        """Keep how many chunks are safe on the disk."""
        write_json(self.folder / SAFE, {"chunks": chunks}, mode=0o600)


class _Out:
    """The backup file. One write is one chunk, done by a thread; after some it is flushed.

    A flush goes on while the next chunks are written. What is noted as safe was flushed before.
    """

    def __init__(
        self, run: _Run, stream: io.FileIO, settings: BackupSettings, hook: Hook, work: ExitStack
    ) -> None:
        self.run, self.stream, self.hook = run, stream, hook
        self.flush_chunks = max(1, settings.fsync_chunks // 2)
        self.chunks = run.chunks
        # The writer is left first: it may be waiting for a flush.
        self.flusher = work.enter_context(Behind("flush", 1))
        self.writer = work.enter_context(Behind("write", CHUNKS_BEHIND))

    def write(self, data: memoryview) -> None:
        self.writer.do(self._write, data)

    def _write(self, data: memoryview) -> None:
        with os_errors(self.run.part):
            while data:
                data = data[self.stream.write(data) :]
        self.chunks += 1
        self.hook("chunk")
        if self.chunks % self.flush_chunks == 0:
            self.flusher.do(self._flush, self.chunks)

    def _flush(self, chunks: int) -> None:
        with os_errors(self.run.part):
            os.fdatasync(self.stream.fileno())
        self.hook("flushed")
        self.run.note(chunks)
        self.hook("noted")

    def finish(self) -> None:
        """Wait until every byte is on the disk."""
        self.writer.wait()
        self.flusher.wait()
        with os_errors(self.run.part):
            os.fsync(self.stream.fileno())


def create(
    home: Home,
    wish: Wish,
    settings: BackupSettings,
    progress: Progress | None = None,
    hook: Hook = lambda _step: None,
) -> dict[str, Any]:
    """Write the backup; run again after an interruption it goes on where the disk is safe."""
    shown = progress or NoProgress()
    folder = home.run / "backup" / sha256_hex(str(wish.out.absolute()).encode())[:16]
    if wish.out.exists():
        shutil.rmtree(folder, ignore_errors=True)  # of a run that ended between two last steps
        raise RestoreRefusedError(
            expected=f"no file at {wish.out}",
            found="a file: backups are not overwritten",
            remedy="Choose another name.",
        )
    with exclusive(home.run / "backup.lock", what="backup"):
        run = _resume(home, folder, wish) or _begin(home, folder, wish, settings)
        resumed = run.chunks
        run.attempt += 1
        run.save()
        hook("begun")
        files = _write(home, run, settings, shown, hook)
        hook("written")
        with os_errors(wish.out):
            run.part.rename(run.out)
            fsync_dir(run.out.parent)
        hook("renamed")
        shutil.rmtree(folder, ignore_errors=True)
    size = sum(p.size for p in run.plan)
    return {
        "ok": True,
        "out": str(wish.out),
        "files": files,
        "bytes": size,
        "bytes_written": wish.out.stat().st_size,
        "chunks_resumed": resumed,
        "attempt": run.attempt,
        "escrow": wish.escrow is not None,
    }


def _begin(home: Home, folder: Path, wish: Wish, settings: BackupSettings) -> _Run:
    # One backup at a time: what an abandoned one left holds its key, so it goes.
    shutil.rmtree(folder.parent, ignore_errors=True)
    with os_errors(folder):
        folder.mkdir(parents=True, mode=0o700)
        wish.out.parent.mkdir(parents=True, exist_ok=True)
        wish.out.with_name(f"{wish.out.name}.part").unlink(missing_ok=True)
    file_key = secrets.token_bytes(32)
    header = seal(file_key, wish.recipients, settings)
    exclude = settings.exclude if wish.escrow is None else (*settings.exclude, *KEY_FOLDERS)
    run = _Run(folder, wish.out, header, file_key, [])
    run.plan = make_plan(home, exclude, run.scratch)
    if wish.escrow is not None:
        run.plan.append(_escrowed(home, run.scratch, wish.escrow, settings))
    return run


def _escrowed(home: Home, scratch: Path, whom: Recipients, settings: BackupSettings) -> Planned:
    """Seal the key folders for the escrow holders only; the rest of the backup names no key."""
    inner, file_key = io.BytesIO(), secrets.token_bytes(32)
    header = seal(file_key, whom, settings)
    inner.write(header)
    sealer = Sealer(payload_key(file_key, header), inner, settings.chunk_bytes)
    with tarfile.open(fileobj=sealer, mode="w", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload] # only write and tell are used
        for folder in KEY_FOLDERS:
            for path in sorted((home.root / folder).rglob("*")):
                if path.is_file() and not path.is_symlink():
                    archive.add(path, path.relative_to(home.root).as_posix(), recursive=False)
    sealer.finish()
    target = scratch / ESCROW
    write_bytes(target, inner.getvalue(), mode=0o600)
    stat = target.stat()
    return Planned(ESCROW, stat.st_size, stat.st_mtime_ns, 0o600, copied=True)


def _resume(home: Home, folder: Path, wish: Wish) -> _Run | None:
    """Return the interrupted run when its file and every planned file are still the same."""
    part = wish.out.with_name(f"{wish.out.name}.part")
    if not (folder / STATE).is_file() or not part.is_file():
        return None
    value = read_json(folder / STATE)
    run = _Run(
        folder,
        wish.out,
        base64.b64decode(value["header"]),
        base64.b64decode(value["file_key"]),
        [Planned.of(p) for p in value["plan"]],
        int(value["attempt"]),
        int(read_json(folder / SAFE)["chunks"]) if (folder / SAFE).is_file() else 0,
    )
    try:
        for item in run.plan:
            require_unchanged(place(home, run.scratch, item), item)
    except ApplianceError:
        return None
    with part.open("rb") as stream:
        if run.chunks and stream.read(len(run.header)) != run.header:
            return None
    return run


def _write(home: Home, run: _Run, settings: BackupSettings, progress: Progress, hook: Hook) -> int:
    safe = len(run.header) + run.chunks * (settings.chunk_bytes + OVERHEAD)
    with ExitStack() as work:
        with os_errors(run.part):
            mode = "r+b" if run.chunks else "wb"
            stream = cast("io.FileIO", work.enter_context(run.part.open(mode, buffering=0)))
            if run.chunks:
                stream.truncate(safe)
                stream.seek(safe)
            else:
                stream.write(run.header)
        out = _Out(run, stream, settings, hook, work)
        hasher = work.enter_context(Behind("hash", HASHES_BEHIND))
        key = payload_key(run.file_key, run.header)
        sealer = Sealer(
            key,
            out,
            settings.chunk_bytes,
            attempt=run.attempt,
            skip=run.chunks,
            behind=CHUNKS_BEHIND,
        )
        files = _tar(home, run, _Tar(sealer, hasher), progress)
        sealer.finish()
        out.finish()
    return files


class _Tar:
    """Writes an archive into the sealer, each file's bytes read where they are sealed."""

    def __init__(self, sealer: Sealer, hasher: Behind) -> None:
        self.sealer, self.hasher = sealer, hasher

    def member(self, item: Planned, path: Path) -> hashlib._Hash:
        """Add a file; the hash is whole when the hasher has done its work."""
        self._head(_member(item.path, item.size, item))
        digest, left = hashlib.sha256(), item.size
        with os_errors(path), path.open("rb", buffering=0) as stream:
            while left:
                space = self.sealer.space()[:left]
                count = stream.readinto(space)
                if not count:
                    raise BackupSourceChangedError(
                        expected=f"{item.path} as long as planned", found="shorter"
                    )
                if item.size < SMALL:
                    digest.update(space[:count])
                    self.sealer.filled(count)
                else:
                    job = self.hasher.do(digest.update, space[:count])
                    self.sealer.filled(count, job)
                left -= count
        self._pad(item.size, BLOCK)
        return digest

    def end(self, manifest: bytes) -> None:
        """Add the manifest and the archive's end."""
        self._head(_member(MANIFEST, len(manifest), None))
        self.sealer.write(manifest)
        self._pad(len(manifest), BLOCK)
        self.sealer.write(bytes(2 * BLOCK))
        self._pad(self.sealer.plain_bytes, RECORD)

    def _head(self, member: tarfile.TarInfo) -> None:
        self.sealer.write(member.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, size: int, unit: int) -> None:
        self.sealer.write(bytes(-size % unit))


def _tar(home: Home, run: _Run, tar: _Tar, progress: Progress) -> int:
    total, done = sum(p.size for p in run.plan), 0
    digests = []
    for item in run.plan:
        path = place(home, run.scratch, item)
        digests.append(tar.member(item, path))
        require_unchanged(path, item)
        done += item.size
        progress.update(done, total, item.path)
    tar.hasher.wait()
    manifest = {
        item.path: {"sha256": digest.hexdigest(), "size": item.size}
        for item, digest in zip(run.plan, digests, strict=True)
    }
    tar.end(canonical_json({"format": 1, "files": manifest}))
    return len(manifest)


def _member(name: str, size: int, item: Planned | None) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = item.mode if item is not None else 0o600
    member.mtime = item.mtime_ns // 10**9 if item is not None else 0
    return member
