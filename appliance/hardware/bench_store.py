"""Signed measurements: one file a run, under the home, that nobody can polish afterwards."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.canonical import canonical_json
from appliance.core.durable import os_errors, write_bytes, write_json
from appliance.core.errors.hardware import BenchDamagedError
from appliance.core.home import Home

Speed = Annotated[float, Field(gt=0)] | None
KEY_FILE = "hardware-bench.key"
_RAW_BYTES = 32
# What is compared between runs; each is better when larger.
COMPARED = (
    "memory_copy",
    "memory_bandwidth",
    "prompt_tokens_s",
    "generate_tokens_s",
    "disk_write",
    "disk_flushes_s",
    "hash_speed",
)


class BenchResult(BaseModel):
    """One run. Speeds in bytes a second unless the name says otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    taken_at: str
    version: str
    machine: str
    memory_copy: Speed = None
    memory_bandwidth: Speed = None
    model: str | None = None
    model_read_bytes: int | None = None
    prompt_tokens_s: Speed = None
    generate_tokens_s: Speed = None
    decode_efficiency: Speed = None
    prompt_flops: Speed = None
    roofline_tokens_s: Speed = None
    on_cards: bool = False
    disk_write: Speed = None
    disk_flushes_s: Speed = None
    hash_speed: Speed = None


def bench_folder(home: Home) -> Path:
    """Return where the measurements are kept."""
    return home.root / "hardware" / "bench"


def _key(home: Home) -> Any:
    """Return the home's Ed25519 key for measurements, made on first use (RFC 8032)."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = home.keys / KEY_FILE
    if not path.exists():
        write_bytes(path, Ed25519PrivateKey.generate().private_bytes_raw(), mode=0o600)
    with os_errors(path):
        raw = path.read_bytes()
    if len(raw) != _RAW_BYTES:
        raise BenchDamagedError(expected=f"a key of 32 bytes in {path}", found=f"{len(raw)} bytes")
    return Ed25519PrivateKey.from_private_bytes(raw)


def save_bench(home: Home, result: BenchResult, keep: int) -> Path:
    """Sign and save a run, and remove the oldest beyond ``keep``."""
    value = result.model_dump(mode="json")
    signature = _key(home).sign(canonical_json(value))
    name = result.taken_at.replace(":", "").replace("-", "").replace(".", "")
    path = bench_folder(home) / f"{name}.json"
    signed = {"result": value, "signature": base64.b64encode(signature).decode("ascii")}
    write_json(path, signed)
    for old in _files(home)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def _files(home: Home) -> list[Path]:
    return sorted(bench_folder(home).glob("[0-9]*.json"))


def last_bench(home: Home, *, with_model: bool = False) -> BenchResult | None:
    """Return the last run (that measured a model), checked; raise ``BenchDamagedError``."""
    for path in reversed(_files(home)):
        result = read_bench(home, path)
        if result.generate_tokens_s is not None or not with_model:
            return result
    return None


def read_bench(home: Home, path: Path) -> BenchResult:
    """Read one run and check its signature."""
    from cryptography.exceptions import InvalidSignature

    try:
        signed = json.loads(path.read_bytes())
        result = BenchResult.model_validate(signed["result"])
        signature = base64.b64decode(signed["signature"], validate=True)
        _key(home).public_key().verify(signature, canonical_json(signed["result"]))
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise BenchDamagedError(
            expected=f"a signed measurement in {path}", found=type(error).__name__
        ) from error
    except InvalidSignature as error:
        raise BenchDamagedError(
            expected=f"this home's signature on {path}", found="another one, or changed numbers"
        ) from error
    return result


def compare(now: BenchResult, before: BenchResult | None, slower: float) -> list[dict[str, Any]]:
    """Return each speed with the last run's and whether it fell by more than ``slower``.

    Model speeds are compared only when the same model was measured.
    """
    rows = []
    for name in COMPARED:
        value = getattr(now, name)
        if value is None:
            continue
        last = getattr(before, name) if before is not None else None
        if name.endswith("tokens_s") and before is not None and before.model != now.model:
            last = None
        ratio = value / last if last else None
        rows.append(
            {
                "name": name,
                "value": value,
                "last": last,
                "ratio": ratio,
                "slower": ratio is not None and ratio < 1 - slower,
            }
        )
    return rows
