"""Proofs that travel: C2SP tlog-proof files, and the proof of a whole range of entries.

A tlog-proof shows that one entry is in the log. A range proof shows the leaves ``lo`` to ``hi``
and nothing else between them: it carries the hashes of the largest subtrees outside the range, in
the order of the leaves, so that whoever holds the entries recomputes the root.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from appliance.audit.note import (
    COSIGNATURE,
    Checkpoint,
    Signature,
    Verifier,
    b64decode,
    b64encode,
    open_checkpoint,
    parse_number,
)
from appliance.audit.tree import (
    HASH_BYTES,
    MAX_PROOF_HASHES,
    HashReader,
    inclusion_proof,
    leaf_hash,
    node_hash,
    range_hash,
    verify_inclusion,
)
from appliance.core.errors.audit import AuditNoteInvalidError, AuditProofInvalidError

HEADER: Final = "c2sp.org/tlog-proof@v1"
MAX_PROOF_BYTES: Final = 128 * 1024  # 63 hashes and a note of at most 64 kB, with room to spare


@dataclass(frozen=True)
class TlogProof:
    """One entry's place in a log, with the checkpoint it leads to."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """Write the file."""
        lines = [HEADER]
        if self.extra is not None:
            lines.append(f"extra {b64encode(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [b64encode(value) for value in self.hashes]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> TlogProof:
        """Read the file; raise :class:`AuditProofInvalidError`."""
        try:
            return cls._parse(data)
        except ValueError as error:
            raise AuditProofInvalidError(
                expected=f"a file that starts with {HEADER}", found=str(error)
            ) from None

    @classmethod
    def _parse(cls, data: bytes) -> TlogProof:
        if len(data) > MAX_PROOF_BYTES:
            raise ValueError(f"more than {MAX_PROOF_BYTES} bytes")
        head, separator, checkpoint = data.partition(b"\n\n")
        lines = head.decode("ascii", "replace").split("\n")
        if not separator or lines.pop(0) != HEADER:
            raise ValueError("another form")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = b64decode(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise ValueError("no index line")
        index = parse_number(lines.pop(0).removeprefix("index "))
        hashes = tuple(b64decode(line) for line in lines)
        if len(hashes) > MAX_PROOF_HASHES or any(len(h) != HASH_BYTES for h in hashes):
            raise ValueError("hashes of another number or length")
        return cls(index, hashes, checkpoint, extra)


def make_proof(index: int, size: int, read: HashReader, checkpoint: bytes) -> TlogProof:
    """Prove leaf ``index`` under ``checkpoint``, a signed checkpoint of ``size`` leaves."""
    return TlogProof(index, tuple(inclusion_proof(index, size, read)), checkpoint)


@dataclass(frozen=True)
class Verdict:
    """What a proof shows. ``ok`` is the answer; the rest says why."""

    ok: bool
    reason: str
    index: int
    checkpoint: Checkpoint | None = None
    cosigned: tuple[tuple[Verifier, Signature], ...] = ()


def verify_proof(
    proof: TlogProof,
    entry: bytes,
    log_key: Verifier,
    witnesses: Sequence[Verifier] = (),
    needed: int = 0,
) -> Verdict:
    """Check that ``entry`` is in the log of ``log_key``, as ``needed`` witnesses saw it."""
    try:
        checkpoint, _, cosigned = open_checkpoint(proof.checkpoint, log_key, witnesses)
    except AuditNoteInvalidError as error:
        return Verdict(ok=False, reason=f"checkpoint: {error.found}", index=proof.index)
    keys = {k.public_key for k, _ in cosigned if k.public_key != log_key.public_key}
    found = tuple(cosigned)
    if len(keys) < needed:
        reason = f"{len(keys)} of {needed} witnesses"
        return Verdict(
            ok=False, reason=reason, index=proof.index, checkpoint=checkpoint, cosigned=found
        )
    inside = verify_inclusion(
        leaf_hash(entry), proof.index, checkpoint.size, proof.hashes, checkpoint.root
    )
    reason = "included" if inside else "the entry and the proof do not lead to the root"
    return Verdict(inside, reason, proof.index, checkpoint, found)


def cosignatures(found: Sequence[tuple[Verifier, Signature]]) -> list[tuple[str, int]]:
    """Return ``(witness name, POSIX time)`` of the cosignatures among ``found``, newest first."""
    times = [(k.name, s.time or 0) for k, s in found if k.algorithm == COSIGNATURE]
    return sorted(times, key=lambda item: -item[1])


def range_proof(lo: int, hi: int, size: int, read: HashReader) -> list[bytes]:
    """Return the hashes outside ``[lo, hi)`` that lead from its leaves to the root."""
    if not 0 <= lo < hi <= size:
        raise ValueError(f"[{lo}, {hi}) is not a range of a tree of {size} leaves")
    return [range_hash(start, end, read) for start, end in _outside(0, size, lo, hi)]


def _outside(start: int, end: int, lo: int, hi: int) -> Iterator[tuple[int, int]]:
    if end <= lo or start >= hi:
        yield start, end
    elif not (lo <= start and end <= hi):
        split = start + (1 << ((end - start - 1).bit_length() - 1))
        yield from _outside(start, split, lo, hi)
        yield from _outside(split, end, lo, hi)


def root_from_range(leaves: Sequence[bytes], lo: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root over ``leaves`` (hashes) standing from ``lo``; raise ``ValueError``.

    Every hash of ``proof`` is used exactly once, so a shortened or widened range cannot pass.
    """
    hi = lo + len(leaves)
    if not 0 <= lo < hi <= size or any(len(h) != HASH_BYTES for h in proof):
        raise ValueError("not a range of this tree")
    rest = iter(proof)

    def root(start: int, end: int) -> bytes:
        if end <= lo or start >= hi:
            return next(rest)
        if end - start == 1:
            return leaves[start - lo]
        split = start + (1 << ((end - start - 1).bit_length() - 1))
        left = root(start, split)
        return node_hash(left, root(split, end))

    try:
        result = root(0, size)
    except StopIteration:
        raise ValueError("too few hashes") from None
    if next(rest, None) is not None:
        raise ValueError("too many hashes")
    return result
