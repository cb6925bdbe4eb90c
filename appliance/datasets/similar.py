"""Near-duplicates: MinHash finds candidates (Broder 1997), the exact Jaccard decides."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from appliance.datasets.record import Record, fold

SHINGLE_WORDS: Final = 3
# The index looks below the wanted similarity, because it finds a pair at its own threshold
# only about every second time.
INDEX_SLACK: Final = 0.25
HASH_32: Final = np.uint64(0xFFFFFFFF)
Shingles = NDArray[np.uint64]


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """Two records, by position, and how similar their texts are."""

    first: int
    second: int
    similarity: float


def compared_text(record: Record) -> str:
    """Return what makes two records the same: the question and what it is asked about."""
    return fold(f"{record.question} {record.context}")


def shingles(text: str) -> Shingles:
    """Return the sorted 64-bit hashes of the word 3-shingles of a folded text."""
    words = text.split()
    runs = range(max(1, len(words) - SHINGLE_WORDS + 1))
    values = {_hash(" ".join(words[i : i + SHINGLE_WORDS])) for i in runs}
    return np.array(sorted(values), dtype=np.uint64)


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def jaccard(first: Shingles, second: Shingles) -> float:
    """Return the share of shingles that both have."""
    both = np.intersect1d(first, second, assume_unique=True).size
    return both / max(1, first.size + second.size - both)


def near_duplicates(
    records: Iterable[Record], *, similarity: float, permutations: int
) -> Iterator[Pair]:
    """Yield the pairs of records whose texts have at least ``similarity``.

    Memory grows with the number of distinct shingles (8 bytes each), not with the texts.
    """
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=max(0.1, similarity - INDEX_SLACK), num_perm=permutations)
    base: Any = MinHash(num_perm=permutations, hashfunc=int)
    seen: list[Shingles] = []
    for position, record in enumerate(records):
        values = shingles(compared_text(record))
        signature = base.copy()
        signature.update_batch((values & HASH_32).tolist())
        for other in sorted(index.query(signature)):
            found = jaccard(values, seen[other])
            if found >= similarity:
                yield Pair(other, position, round(found, 4))
        index.insert(position, signature)
        seen.append(values)
