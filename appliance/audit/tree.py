"""The RFC 6962 Merkle tree, and where C2SP tlog-tiles keeps its hashes.

A node ``(level, index)`` is the root of the complete subtree over the leaves
``index * 2**level`` to ``(index + 1) * 2**level``. Everything here is pure: hashes come in through
a :data:`HashReader`, proofs and roots go out. Verification follows RFC 9162 section 2.1.3.2 and
2.1.4.2, which give the algorithms for the trees of RFC 6962.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
MAX_SIZE: Final = 1 << 62  # far beyond any log; keeps every number inside a signed 64-bit integer
MAX_PROOF_HASHES: Final = 63  # tlog-witness: no more than 63 consistency proof lines

HashReader = Callable[[int, int], bytes]
"""Returns the hash of the node ``(level, index)``; raises ``LookupError`` when it has none."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf (RFC 6962 section 2.1: a zero byte, then the entry)."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (a one byte, then both children)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over ``hashes`` taken as the leaf hashes of a tree of their own."""
    level = list(hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        above = [node_hash(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        if len(level) % 2:
            above.append(level[-1])
        level = above
    return level[0]


def complete_nodes(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield, left to right, the fewest complete nodes that cover the leaves ``start`` to ``end``.

    This is the compact range of ``[start, end)``; for ``start == 0`` it has one node a set bit.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def _join(hashes: Sequence[bytes]) -> bytes:
    """Hash a right-leaning chain: what RFC 6962 does with the pieces of an incomplete subtree."""
    result = hashes[-1]
    for left in reversed(hashes[:-1]):
        result = node_hash(left, result)
    return result


def range_hash(start: int, end: int, read: HashReader) -> bytes:
    """Return the hash ``MTH(D[start:end])`` of a subtree that occurs in an RFC 6962 tree."""
    return _join([read(level, index) for level, index in complete_nodes(start, end)])


def root_hash(size: int, read: HashReader) -> bytes:
    """Return the root of the tree over the first ``size`` leaves."""
    return range_hash(0, size, read) if size else EMPTY_ROOT


class CompactRange:
    """The right edge of a growing tree: enough to append and to name the root at once.

    ``hashes`` are the roots of the complete subtrees, largest first, one a set bit of ``size``.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self.hashes = list(hashes)
        if len(self.hashes) != size.bit_count():
            raise ValueError(f"{size.bit_count()} hashes describe {size} leaves")

    @classmethod
    def load(cls, size: int, read: HashReader) -> CompactRange:
        """Read the edge of a stored tree of ``size`` leaves."""
        return cls(size, [read(level, index) for level, index in complete_nodes(0, size)])

    def append(self, leaf: bytes) -> list[tuple[int, int, bytes]]:
        """Add a leaf hash; return every node it completes, the leaf first, as (level, index, hash).

        A new node at level 8 is what goes into the level-1 tile, at level 16 into level 2.
        """
        index = self.size
        made = [(0, index, leaf)]
        node, level = leaf, 0
        while (index >> level) & 1:
            node = node_hash(self.hashes.pop(), node)
            level += 1
            made.append((level, index >> level, node))
        self.hashes.append(node)
        self.size += 1
        return made

    def root(self) -> bytes:
        """Return the root over everything appended so far."""
        return _join(self.hashes) if self.hashes else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """Return the audit path of leaf ``index`` in the tree of ``size`` leaves, sibling first."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    proof: list[bytes] = []
    low, high = 0, size
    while high - low > 1:
        split = low + (1 << ((high - low - 1).bit_length() - 1))
        if index < split:
            proof.append(range_hash(split, high, read))
            high = split
        else:
            proof.append(range_hash(low, split, read))
            low = split
    return proof[::-1]


def consistency_proof(old: int, new: int, read: HashReader) -> list[bytes]:
    """Return the proof that the first ``old`` of ``new`` leaves did not change (section 2.1.2)."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {old} leaves does not come before one of {new}")
    if old in {0, new}:
        return []
    proof: list[bytes] = []
    low, high = 0, new
    while high != old:
        split = low + (1 << ((high - low - 1).bit_length() - 1))
        if old <= split:
            proof.append(range_hash(split, high, read))
            high = split
        else:
            proof.append(range_hash(low, split, read))
            low = split
    if low:
        proof.append(range_hash(low, high, read))
    return proof[::-1]


def root_from_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root that ``proof`` leads to, or None when it has not the right shape."""
    if not 0 <= index < size <= MAX_SIZE or not _hashes(leaf, *proof):
        return None
    here, last, result = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if here & 1 or here == last:
            result = node_hash(sibling, result)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        here, last = here >> 1, last >> 1
    return result if last == 0 else None


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> bool:
    """Say whether ``proof`` shows that ``leaf`` stands at ``index`` under ``root``."""
    return root_from_inclusion(leaf, index, size, proof) == root


def verify_consistency(
    old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> bool:
    """Say whether ``proof`` shows that the tree under ``new_root`` extends ``old_root``.

    Nothing can be shown about the empty tree, which any tree extends: a caller who starts from
    nothing has nothing to compare.
    """
    if not 0 < old <= new <= MAX_SIZE or not _hashes(*proof):
        return False
    if old == new:
        return not proof and old_root == new_root
    path = [old_root, *proof] if old & (old - 1) == 0 else list(proof)
    if not path:
        return False
    here, last = old - 1, new - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    first = second = path[0]
    for node in path[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            first, second = node_hash(node, first), node_hash(node, second)
            while not here & 1 and here:
                here, last = here >> 1, last >> 1
        else:
            second = node_hash(second, node)
        here, last = here >> 1, last >> 1
    return last == 0 and first == old_root and second == new_root


def _hashes(*values: bytes) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
