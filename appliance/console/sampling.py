"""Random samples that anybody can draw again from what the log says about them.

Every entry of the population gets SHA-256(seed, its key); the smallest hashes are the sample. So
the seed fixes the sample, in any order of reading, and the log fixes the seed.
"""

from __future__ import annotations

import hashlib
import heapq
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

SEED_BYTES: Final = 16


@dataclass(frozen=True)
class Draw:
    """What a sample was drawn from, as its log entry says: enough to draw it again."""

    seed: str
    size: int
    since: str
    until: str
    population: int
    digest: str

    def to_detail(self) -> dict[str, str | int]:
        """Return the log's form."""
        return dict(self.__dict__)

    @classmethod
    def from_detail(cls, detail: dict[str, Any]) -> Draw:
        """Read the log's form."""
        return cls(**{name: detail[name] for name in cls.__dataclass_fields__})


def new_seed() -> str:
    """Return 128 random bits in hexadecimal."""
    return secrets.token_hex(SEED_BYTES)


def draw(keys: Iterable[int], seed: str, size: int) -> list[int]:
    """Return ``size`` of ``keys`` in order of the log; fewer when there are fewer."""
    raw = bytes.fromhex(seed)
    chosen = heapq.nsmallest(size, keys, key=lambda k: (_rank(raw, k), k))
    return sorted(chosen)


def _rank(seed: bytes, key: int) -> bytes:
    return hashlib.sha256(seed + key.to_bytes(8, "big")).digest()


def digest(keys: Iterable[int]) -> str:
    """Return a hash of the drawn keys for the log."""
    return hashlib.sha256("\n".join(map(str, keys)).encode()).hexdigest()
