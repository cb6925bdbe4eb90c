"""A log written by hand, as the writer would leave it, for what reads logs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from appliance.audit import note, tiles, tree
from appliance.audit.layout import VKEY, Shard, shard_folder
from appliance.audit.witness import WitnessBook
from appliance.core.canonical import canonical_json
from appliance.core.home import Home

WITNESS = note.SeedSigner(b"w" * 32)
WITNESS_KEY = note.Verifier("officer.example/w1", WITNESS.public_key, note.COSIGNATURE)


def stamp(minute: int) -> str:
    """A time on a made-up day, by the minute."""
    return f"2026-03-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00.000000Z"


@dataclass
class LogMaker:
    """Appends entries to one shard and writes its folder."""

    audit: Path
    number: int = 1
    seed: bytes = b"l" * 32
    entries: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.signer = note.SeedSigner(self.seed)
        self.key = note.Verifier(
            f"hospital.example/audit/{self.number:04d}", self.signer.public_key
        )
        self.folder = shard_folder(self.audit, self.number)

    @property
    def shard(self) -> Shard:
        return Shard(self.number, self.folder)

    def add(self, minute: int, action: str = "gateway.chat", **fields: Any) -> int:
        n = len(self.entries)
        value = {
            "v": 1,
            "id": f"{self.number:016x}{n:016x}",
            "time": stamp(minute),
            "counter": minute,
            "phase": "event",
            "action": action,
            "type": "110110",
            "crude": "R",
            "component": "gateway",
            **fields,
        }
        value["written"] = {"at": stamp(minute), "log": self.number, "n": n, "pid": 1, "uid": 0}
        self.entries.append(canonical_json(value))
        return n

    def opened(self, minute: int, before: LogMaker | None = None) -> int:
        detail: dict[str, Any] = {"previous": "none"}
        if before is not None:
            root = tree.fold([tree.leaf_hash(e) for e in before.entries])
            size = len(before.entries)
            detail = {"previous": before.key.name, "size": size, "root": root.hex()}
        return self.add(minute, "audit.shard_opened", component="audit", detail=detail)

    def closed(self, minute: int, after: LogMaker) -> int:
        detail = {"next": after.key.name, "key": after.key.vkey}
        return self.add(minute, "audit.shard_closed", component="audit", detail=detail)

    def checkpoint(self, size: int | None = None) -> note.Note:
        leaves = [tree.leaf_hash(e) for e in self.entries[: size or len(self.entries)]]
        text = note.Checkpoint(self.key.name, len(leaves), tree.fold(leaves)).text
        return note.Note(text, (note.sign(text, self.key.name, self.signer),))

    def write(self) -> Shard:
        """Write tiles, bundles, key and checkpoint."""
        edge = tree.CompactRange()
        levels: dict[int, list[bytes]] = {}
        for entry in self.entries:
            for level, _, value in edge.append(tree.leaf_hash(entry)):
                if level % 8 == 0:
                    levels.setdefault(level // 8, []).append(value)
        for level, n, width in tiles.tiles_of(len(self.entries)):
            data = b"".join(levels[level][n * 256 : n * 256 + width])
            self._put(tiles.tile_path(level, n, width), data)
        for n in range((len(self.entries) + 255) // 256):
            part = self.entries[n * 256 : (n + 1) * 256]
            self._put(tiles.entries_path(n, len(part)), tiles.pack_bundle(part))
        self._put(VKEY, (self.key.vkey + "\n").encode())
        self._put("checkpoint", self.checkpoint().encode())
        return self.shard

    def _put(self, name: str, data: bytes) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def read(self, index: int) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.entries[index])
        return value

    def cosign(self, book: WitnessBook, at: int, size: int | None = None) -> None:
        """Have the officer's witness sign the log (as it was at ``size``)."""
        book.trust(WITNESS_KEY.vkey)
        asked = self.checkpoint(size)
        hashes = tiles.TileHashes(len(self.entries), tiles.folder_tiles(self.folder))
        book.request(self.key, asked.encode(), hashes)
        line = note.cosign(asked.text, WITNESS_KEY.name, WITNESS, at)
        book.accept(self.key, line.line.encode())


@pytest.fixture
def make_log(home: Home) -> Callable[..., LogMaker]:
    """Return a maker of shards in this test's home."""

    def make(number: int = 1, seed: bytes = b"l" * 32) -> LogMaker:
        return LogMaker(home.audit, number, seed)

    return make


@pytest.fixture
def book(home: Home) -> WitnessBook:
    """The witnesses of this test's home."""
    return WitnessBook(home.audit / "witness")


@pytest.fixture
def log(make_log: Callable[..., LogMaker]) -> LogMaker:
    """A log of 600 entries, one a minute; every fifth reads the record of p1-ana."""
    made = make_log()
    made.opened(0)
    patients = ["p1-ana", "p1-bia", "p1-caio", "p1-davi", "p1-eva"]
    for minute in range(1, 600):
        user = "nurse-1" if minute % 2 else "doctor-1"
        made.add(minute, user=user, patient=patients[minute % 5], outcome="success")
    made.write()
    return made
