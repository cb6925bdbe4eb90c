"""A medium of random bytes, signed, to measure verification on."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from appliance.bundle import ceremony
from appliance.bundle.model import Manifest
from appliance.bundle.tufapi import CryptoSigner
from appliance.bundle.writer import Item, Repository, Signers
from appliance.core.canonical import canonical_json
from appliance.core.settings.bundle import BundleSettings
from tests.bench.backups import aes_mb_s, backup_rows
from tests.bench.measure import Row, appliance, at_least, at_most, run

SIZE = 512 << 20  # of the medium (bytes): well past every cache but the page cache


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
    state = folder / "state"
    state.mkdir()
    return [*rows, *backup_rows(state)]


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
