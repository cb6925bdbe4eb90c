"""A medium of random bytes, signed, to measure verification and backups on."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.bundle import ceremony
from appliance.bundle.model import Manifest
from appliance.bundle.tufapi import CryptoSigner
from appliance.bundle.writer import Item, Repository, Signers
from appliance.core.canonical import canonical_json
from appliance.core.settings.bundle import BundleSettings
from tests.bench.measure import Row, appliance, at_least, at_most, run

SIZE = 512 << 20  # of the medium (bytes): well past every cache but the page cache
PIECE = 1 << 20


def bundle_rows(folder: Path) -> list[Row]:
    """Measure ``bundle bench`` on a medium and ``backup create`` against AES-256-GCM alone."""
    medium = make_medium(folder)
    found: dict[str, Any] = json.loads(
        run(appliance("bundle", "bench", str(medium), "--json"), folder).output
    )
    rows = [
        at_least("bundle", "verify on one core, of hashlib", found["one_core_ratio"], "x", 0.9),
        at_least("bundle", "verify on two cores, of hashlib", found["two_core_ratio"], "x", 1.8),
        at_most("bundle", "peak memory of verify", found["peak_rss_mb"], "MB", 150),
    ]
    rows += [Row("bundle", key, float(value), "") for key, value in found.items() if "mb_s" in key]
    rows.append(Row("bundle", "AES-256-GCM alone (the peer)", aes_mb_s(), "MB/s"))
    return [*rows, *backup_rows(folder)]


def make_medium(folder: Path) -> Path:
    """Write and sign a medium of ``SIZE`` random bytes with keys made for it."""
    where, now = folder / "medium", datetime.now(tz=UTC)
    where.mkdir()
    holders = [CryptoSigner.generate_ed25519() for _ in range(3)]
    release = CryptoSigner.generate_ed25519()
    role = [release.public_key]
    keys = ceremony.RoleKeys([h.public_key for h in holders], role, role, role)
    root = ceremony.new_root(keys, now, 365, None)
    for holder in holders[:2]:
        root = ceremony.sign(root, holder)
    repository = Repository(where, BundleSettings(), frozenset())
    described = Manifest.model_validate(
        {
            "name": "bench",
            "version": "1.0",
            "sequence": 1,
            "created": now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "machine": {"distribution": "", "release": "", "architecture": ""},
        }
    )
    manifest = canonical_json(described.model_dump(mode="json"))
    repository.add(Item("bundle.json", manifest))
    repository.add(Item("verify_bundle.py", b"print('verifier')\n", plain=True))
    for number in range(4):
        repository.add(Item(f"models/part-{number}.gguf", os.urandom(SIZE // 4)))
    repository.sign(1, Signers([root], release, release, release), now)
    return where


def backup_rows(folder: Path) -> list[Row]:
    """Measure ``backup create`` of random state, beside AES-256-GCM and a plain copy."""
    home = folder / "home"
    (home / "models").mkdir(parents=True)
    source = home / "models" / "weights.bin"
    source.write_bytes(os.urandom(SIZE))
    secret = folder / "passphrase"
    secret.write_text("a passphrase for a benchmark only\n")
    out = folder / "state.backup"
    cost = run(appliance("backup", "create", str(out), "--passphrase-file", str(secret)), home)
    began = time.perf_counter()
    with source.open("rb") as stream, (folder / "copy").open("wb") as copy:
        while piece := stream.read(PIECE):
            copy.write(piece)
        copy.flush()
        os.fsync(copy.fileno())
    plain = SIZE / (time.perf_counter() - began) / 1e6
    rate = SIZE / cost.wall_s / 1e6
    best = min(plain, aes_mb_s())
    return [
        Row("backup", "create, whole command", rate, "MB/s"),
        Row("backup", "plain copy with fsync (the peer)", plain, "MB/s"),
        at_least("backup", "create, of what disk and AES allow", rate / best, "x", 0.5),
    ]


def aes_mb_s() -> float:
    """Return MB/s of AES-256-GCM over pieces of 1 MiB, in memory."""
    cipher, piece = AESGCM(AESGCM.generate_key(256)), os.urandom(PIECE)
    rounds, began = 512, time.perf_counter()
    for number in range(rounds):
        cipher.encrypt(number.to_bytes(12, "big"), piece, None)
    return rounds * PIECE / (time.perf_counter() - began) / 1e6
