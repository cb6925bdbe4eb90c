"""Backups of random state, beside AES-256-GCM alone and a plain copy on the same disk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.bundle.backup import restore
from appliance.bundle.backup.create import Wish, create
from appliance.bundle.backup.header import (
    IDENTITY,
    RECIPIENT,
    Recipients,
    Secrets,
    generate_identity,
    parse_key,
)
from appliance.core.home import Home
from appliance.core.settings.backup import BackupSettings
from tests.bench.measure import Row, appliance, at_least, run

SIZE = 512 << 20  # of the state (bytes)
PIECE = 1 << 20
ROUNDS = 3  # each step in turn, the best of each: a disk that others use is slow by chance


def backup_rows(folder: Path) -> list[Row]:
    """Measure create, verify and restore.

    The promise is about sealing what the disk takes. What the command needs to start (the
    interpreter, the passphrase's scrypt, the log's writer) does not grow with the state; the
    last row shows it.
    """
    home = Home(folder / "home").prepare()
    source, out = home.root / "models" / "weights.bin", folder / "state.backup"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(os.urandom(SIZE))
    identity, recipient = generate_identity()
    whom, held = Recipients((parse_key(recipient, RECIPIENT),)), parse_key(identity, IDENTITY)
    settings = BackupSettings()
    steps: dict[str, Callable[[], object]] = {
        "copy": lambda: _copy(source, folder / "copy"),
        "create": lambda: create(home, Wish(out, whom), settings),
        "verify": lambda: restore.verify(out, Secrets((held,)), settings),
        "restore": lambda: restore.restore(out, folder / "new", Secrets((held,)), settings),
    }
    rates = dict.fromkeys(steps, 0.0)
    for _ in range(ROUNDS):
        shutil.rmtree(folder / "new", ignore_errors=True)
        out.unlink(missing_ok=True)
        for name, step in steps.items():
            os.sync()  # nobody pays for another's bytes
            began = time.perf_counter()
            step()
            rates[name] = max(rates[name], SIZE / (time.perf_counter() - began) / 1e6)
    best = min(rates["copy"], aes_mb_s())
    return [
        Row("backup", "plain copy with fdatasync (the peer)", rates["copy"], "MB/s"),
        *[Row("backup", name, rates[name], "MB/s") for name in ("create", "verify", "restore")],
        at_least("backup", "create, of what disk and AES allow", rates["create"] / best, "x", 0.5),
        Row("backup", "restore, of what disk and AES allow", rates["restore"] / best, "x"),
        Row("backup", "create of 512 MB as a command, passphrase", _command(folder), "s"),
    ]


def _copy(source: Path, target: Path) -> None:
    with source.open("rb", buffering=0) as stream, target.open("wb", buffering=0) as copy:
        while piece := stream.read(PIECE):
            copy.write(piece)
        os.fdatasync(copy.fileno())


def _command(folder: Path) -> float:
    secret = folder / "passphrase"
    secret.write_text("a passphrase for a benchmark only\n")
    command = appliance("backup", "create", str(folder / "again"), "--passphrase-file", str(secret))
    return run(command, folder / "home").wall_s


def aes_mb_s() -> float:
    """Return MB/s of AES-256-GCM over pieces of 1 MiB, in memory."""
    cipher, piece = AESGCM(AESGCM.generate_key(256)), os.urandom(PIECE)
    sealed = bytearray(PIECE + 16)
    rounds, began = 512, time.perf_counter()
    for number in range(rounds):
        cipher.encrypt_into(number.to_bytes(12, "big"), piece, None, sealed)
    return rounds * PIECE / (time.perf_counter() - began) / 1e6
