"""An attacker's workshop: releases signed in memory, media in a dictionary, faults on demand."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from appliance.bundle import ceremony
from appliance.bundle.medium import Found, Source
from appliance.bundle.model import Manifest
from appliance.bundle.tufapi import CryptoSigner
from appliance.bundle.writer import Item, Repository, Signers
from appliance.core.canonical import canonical_json
from appliance.core.errors import BundleForeignFileError
from appliance.core.settings.bundle import BundleSettings

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
LIMITS = BundleSettings(chunk_bytes=4096, buffer_bytes=4096, space_reserve_bytes=0)
FILES = {
    "wheels/agent-1.0-py3-none-any.whl": b"agent " * 3000,
    "debs/engine_1.0_amd64.deb": b"engine " * 2000,
    "images/base.oci.tar": b"image" * 4000,
    "models/tiny.gguf": bytes(range(256)) * 80,
}


@dataclass
class MemorySource:
    """An open file of a medium in memory."""

    data: bytes
    at: int = 0
    endless: bool = False
    fail_at: int | None = None
    code: int = errno.EIO

    def readinto(self, buffer: memoryview, /) -> int:
        if self.fail_at is not None and self.at + len(buffer) > self.fail_at:
            raise OSError(self.code, "made by the test")
        if self.endless and self.at >= len(self.data):
            buffer[:] = b"\0" * len(buffer)
            return len(buffer)
        part = self.data[self.at : self.at + len(buffer)]
        buffer[: len(part)] = part
        self.at += len(part)
        return len(part)

    def close(self) -> None:
        return


@dataclass
class MemoryMedium:
    """A medium whose every file the attacker may change, also between two reads."""

    files: dict[str, bytes]
    strange: dict[str, Found] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    failing: dict[str, tuple[int, int]] = field(default_factory=dict)
    on_open: Callable[[str], None] | None = None
    opened: list[str] = field(default_factory=list)
    name: str = "memory"

    def open(self, path: str) -> Source:
        if self.on_open is not None:
            self.on_open(path)
        self.opened.append(path)
        if path in self.strange:
            raise BundleForeignFileError(expected="a regular file", found=self.strange[path].kind)
        if path not in self.files:
            raise FileNotFoundError(errno.ENOENT, "missing", path)
        fail_at, code = self.failing.get(path, (None, errno.EIO))
        return MemorySource(
            self.files[path], endless=path in self.endless, fail_at=fail_at, code=code
        )

    def walk(self) -> Iterator[Found]:
        folders = {p[:i] for p in self.files for i, c in enumerate(p) if c == "/"}
        yield from (Found(p, "folder") for p in sorted(folders))
        yield from (Found(p, "file", len(b)) for p, b in sorted(self.files.items()))
        yield from self.strange.values()


def manifest(sequence: int, **more: object) -> Manifest:
    return Manifest.model_validate(
        {
            "name": "test",
            "version": f"1.{sequence}",
            "sequence": sequence,
            "created": "2026-05-30T00:00:00Z",
            "machine": {"distribution": "", "release": "", "architecture": ""},
            **more,
        }
    )


class World:
    """The supplier's keys and everything that can be signed with them."""

    def __init__(self) -> None:
        self.root_keys = [CryptoSigner.generate_ed25519() for _ in range(3)]
        self.release = CryptoSigner.generate_ed25519()
        self.roots: list[bytes] = []
        self.roots.append(self.root(self.root_keys, self.root_keys[:2]))

    def root(
        self,
        holders: list[CryptoSigner],
        signing: list[CryptoSigner],
        release: CryptoSigner | None = None,
        days: int = 365,
    ) -> bytes:
        role = [(release or self.release).public_key]
        keys = ceremony.RoleKeys([k.public_key for k in holders], role, role, role)
        data = ceremony.new_root(keys, NOW, days, self.roots[-1] if self.roots else None)
        for signer in signing:
            data = ceremony.sign(data, signer)
        return data

    def signers(self, roots: list[bytes] | None = None) -> Signers:
        return Signers(roots or self.roots, self.release, self.release, self.release)

    def folder(
        self,
        where: Path,
        version: int = 1,
        files: dict[str, bytes] | None = None,
        *,
        known: frozenset[str] = frozenset(),
        **more: object,
    ) -> Repository:
        where.mkdir(parents=True, exist_ok=True)
        repository = Repository(where, LIMITS, known)
        described = canonical_json(manifest(version, **more).model_dump(mode="json"))
        repository.add(Item("bundle.json", described))
        repository.add(Item("verify_bundle.py", b"print('verifier')\n", plain=True))
        for path, data in sorted((FILES if files is None else files).items()):
            repository.add(Item(path, data))
        repository.sign(version, self.signers(), NOW)
        return repository

    def medium(self, where: Path, version: int = 1, **more: object) -> MemoryMedium:
        self.folder(where, version, **more)  # type: ignore[arg-type] # passed on as named
        return load(where)


def load(where: Path) -> MemoryMedium:
    return MemoryMedium(
        {
            p.relative_to(where).as_posix(): p.read_bytes()
            for p in sorted(where.rglob("*"))
            if p.is_file()
        }
    )


@dataclass(frozen=True)
class Earlier:
    """An earlier release that a difference bundle is made against."""

    repository: Repository
    id: str

    def medium(
        self, world: World, where: Path, version: int, files: dict[str, bytes]
    ) -> MemoryMedium:
        """Return a medium with only what the earlier release does not hold."""
        known = frozenset(c.sha256 for e in self.repository.entries for c in e.chunks)
        base = {"id": self.id, "version": "1.1"}
        world.folder(where, version, files, known=known, base=base)
        return load(where)
