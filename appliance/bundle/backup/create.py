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
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from appliance.bundle.backup.header import Recipients, payload_key, seal
from appliance.bundle.backup.plan import COPY, Planned, make_plan, place, require_unchanged
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
    state: dict[str, Any] = field(default_factory=dict)

    @property
    def part(self) -> Path:
        return self.out.with_name(f"{self.out.name}.part")

    @property
    def scratch(self) -> Path:
        return self.folder / "copies"

    def save(self) -> None:
        write_json(
            self.folder / "state.json",
            {
                "out": str(self.out),
                "header": base64.b64encode(self.header).decode(),
                "file_key": base64.b64encode(self.file_key).decode(),
                "plan": [p.to_dict() for p in self.plan],
                "attempt": self.attempt,
                "chunks": self.chunks,
            },
            mode=0o600,
        )


class _Out(io.RawIOBase):
    """The backup file. One write is one chunk; after some it is flushed and that is noted."""

    def __init__(self, run: _Run, stream: BinaryIO, settings: BackupSettings, hook: Hook) -> None:
        super().__init__()
        self.run, self.stream, self.settings, self.hook = run, stream, settings, hook
        self.new_chunks = 0

    def write(self, data: Any) -> int:
        self.stream.write(data)
        self.new_chunks += 1
        self.hook("chunk")
        if self.new_chunks % self.settings.fsync_chunks == 0:
            self.flush_to_disk()
            self.run.chunks += self.settings.fsync_chunks
            self.run.save()
        return len(data)

    def flush_to_disk(self) -> None:
        self.stream.flush()
        os.fsync(self.stream.fileno())


class _Plain:
    """What tarfile writes into: the sealer, with a position."""

    def __init__(self, sealer: Sealer) -> None:
        self.sealer = sealer

    def write(self, data: bytes) -> int:
        return self.sealer.write(data)

    def tell(self) -> int:
        return self.sealer.plain_bytes


class _Hashed(io.RawIOBase):
    """A source that hashes what is read from it, on the other core while the bytes are sealed."""

    def __init__(self, stream: BinaryIO, size: int, pool: ThreadPoolExecutor) -> None:
        super().__init__()
        self.stream, self.left, self.pool = stream, size, pool
        self._digest = hashlib.sha256()
        self._job: Future[None] | None = None

    def read(self, count: int = -1) -> bytes:
        data = self.stream.read(min(count, self.left) if count >= 0 else self.left)
        self._wait()
        self._job = self.pool.submit(self._digest.update, data)
        self.left -= len(data)
        return data

    def _wait(self) -> None:
        if self._job is not None:
            self._job.result()

    def hexdigest(self) -> str:
        """Return the SHA-256 of what was read."""
        self._wait()
        return self._digest.hexdigest()


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
    with tarfile.open(fileobj=_Plain(sealer), mode="w", format=tarfile.PAX_FORMAT) as archive:  # type: ignore[call-overload] # only write and tell are used
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
    if not (folder / "state.json").is_file() or not part.is_file():
        return None
    value = read_json(folder / "state.json")
    run = _Run(
        folder,
        wish.out,
        base64.b64decode(value["header"]),
        base64.b64decode(value["file_key"]),
        [Planned.of(p) for p in value["plan"]],
        int(value["attempt"]),
        int(value["chunks"]),
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
    with os_errors(run.part), run.part.open("r+b" if run.chunks else "wb") as stream:
        if run.chunks:
            stream.truncate(safe)
            stream.seek(safe)
        else:
            stream.write(run.header)
        out = _Out(run, stream, settings, hook)
        key = payload_key(run.file_key, run.header)
        size = settings.chunk_bytes
        sealer = Sealer(key, out, size, attempt=run.attempt, skip=run.chunks)  # type: ignore[arg-type] # only write is used
        files = _tar(home, run, sealer, progress)
        sealer.finish()
        out.flush_to_disk()
    return files


def _tar(home: Home, run: _Run, sealer: Sealer, progress: Progress) -> int:
    total, done = sum(p.size for p in run.plan), 0
    manifest: dict[str, Any] = {}
    with (
        ThreadPoolExecutor(1, thread_name_prefix="hash") as pool,
        tarfile.TarFile(
            fileobj=_Plain(sealer),  # type: ignore[arg-type] # only write and tell are used
            mode="w",
            format=tarfile.PAX_FORMAT,
            copybufsize=COPY,
        ) as archive,
    ):
        for item in run.plan:
            path = place(home, run.scratch, item)
            with os_errors(path), path.open("rb", buffering=0) as stream:
                source = _Hashed(stream, item.size, pool)
                try:
                    archive.addfile(_member(item.path, item.size, item), source)
                except OSError as error:
                    if str(error) == "unexpected end of data":
                        raise BackupSourceChangedError(
                            expected=f"{item.path} as long as planned", found="shorter"
                        ) from error
                    raise
            require_unchanged(path, item)
            manifest[item.path] = {"sha256": source.hexdigest(), "size": item.size}
            done += item.size
            progress.update(done, total, item.path)
        data = canonical_json({"format": 1, "files": manifest})
        archive.addfile(_member(MANIFEST, len(data), None), io.BytesIO(data))
    return len(manifest)


def _member(name: str, size: int, item: Planned | None) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = size
    member.mode = item.mode if item is not None else 0o600
    member.mtime = item.mtime_ns // 10**9 if item is not None else 0
    return member
