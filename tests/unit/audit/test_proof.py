"""tlog-proof files, judged also by a verifier written by others, and range proofs."""

from __future__ import annotations

import contextlib
import dataclasses

import proofbundle.checkpoint as outside_checkpoint
import proofbundle.merkle as outside_merkle
import proofbundle.tlogproof as outside
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit import note, proof, tree
from appliance.core.errors.audit import AuditProofInvalidError

SIGNER = note.SeedSigner(b"l" * 32)
LOG = note.Verifier("log.example/one", SIGNER.public_key)
WITNESS = note.SeedSigner(b"w" * 32)
WITNESS_KEY = note.Verifier("witness.example/w1", WITNESS.public_key, note.COSIGNATURE)
ENTRIES = [b"entry %d" % i for i in range(11)]
LEAVES = [tree.leaf_hash(e) for e in ENTRIES]


def read(level: int, index: int) -> bytes:
    part = LEAVES[index << level : (index + 1) << level]
    if len(part) != 1 << level:
        raise LookupError
    return tree.fold(part)


def checkpoint(size: int = len(ENTRIES), *, cosigned: bool = False) -> bytes:
    text = note.Checkpoint(LOG.name, size, tree.root_hash(size, read)).text
    signatures = [note.sign(text, LOG.name, SIGNER)]
    if cosigned:
        signatures.append(note.cosign(text, WITNESS_KEY.name, WITNESS, 1_700_000_000))
    return note.Note(text, tuple(signatures)).encode()


def made(index: int, *, cosigned: bool = False) -> proof.TlogProof:
    return proof.make_proof(index, len(ENTRIES), read, checkpoint(cosigned=cosigned))


@pytest.mark.parametrize("index", range(len(ENTRIES)))
def test_a_proof_reads_back_and_verifies(index: int) -> None:
    again = proof.TlogProof.parse(made(index).encode())
    assert again == made(index)
    verdict = proof.verify_proof(again, ENTRIES[index], LOG)
    assert verdict.ok and verdict.reason == "included"
    assert not proof.verify_proof(again, b"forged", LOG).ok


@pytest.mark.parametrize("index", range(len(ENTRIES)))
def test_a_verifier_by_others_agrees(index: int) -> None:
    text = made(index, cosigned=True).encode().decode()
    answer = outside.verify_tlog_proof(
        text, ENTRIES[index], LOG.vkey, [WITNESS_KEY.vkey], threshold=1, expected_origin=LOG.name
    )
    assert answer["ok"], answer
    assert not outside.verify_tlog_proof(text, b"forged", LOG.vkey)["ok"]


def test_others_write_the_same_bytes() -> None:
    mine = made(4, cosigned=True)
    theirs = outside.format_tlog_proof(4, list(mine.hashes), mine.checkpoint.decode())
    assert theirs.encode() == mine.encode()
    assert outside_merkle.inclusion_proof(ENTRIES, 4) == list(mine.hashes)
    assert outside_merkle.consistency_proof(ENTRIES, 5) == tree.consistency_proof(5, 11, read)
    assert outside_merkle.merkle_tree_hash(ENTRIES) == tree.root_hash(11, read)
    assert outside_checkpoint.vkey(LOG.name, LOG.public_key) == LOG.vkey
    assert outside_checkpoint.cosign_vkey(WITNESS_KEY.name, WITNESS.public_key) == WITNESS_KEY.vkey
    assert outside_checkpoint.verify_checkpoint(checkpoint().decode(), LOG.vkey)["ok"]


def test_witnesses_are_counted_and_their_times_told() -> None:
    verdict = proof.verify_proof(made(2, cosigned=True), ENTRIES[2], LOG, [WITNESS_KEY], 1)
    assert verdict.ok
    assert proof.cosignatures(verdict.cosigned) == [(WITNESS_KEY.name, 1_700_000_000)]
    alone = proof.verify_proof(made(2), ENTRIES[2], LOG, [WITNESS_KEY], 1)
    assert not alone.ok and alone.reason == "0 of 1 witnesses"


def test_the_log_key_does_not_count_as_its_own_witness() -> None:
    self_witness = note.Verifier("witness.example/self", SIGNER.public_key, note.COSIGNATURE)
    text = note.Checkpoint(LOG.name, 11, tree.root_hash(11, read)).text
    lines = (note.sign(text, LOG.name, SIGNER), note.cosign(text, self_witness.name, SIGNER, 1))
    forged = dataclasses.replace(made(1), checkpoint=note.Note(text, lines).encode())
    assert not proof.verify_proof(forged, ENTRIES[1], LOG, [self_witness], 1).ok


def test_a_foreign_log_key_is_refused() -> None:
    foreign = note.Verifier(LOG.name, note.SeedSigner(b"f" * 32).public_key)
    assert "checkpoint" in proof.verify_proof(made(1), ENTRIES[1], foreign).reason


@pytest.mark.parametrize(
    "change",
    [
        (b"@v1", b"@v2"),
        (b"index 3", b"index 03"),
        (b"index 3\n", b""),
        (b"\n\n", b"\n"),
        (b"index 3", b"extra AA\nindex 3"),
        (b"index 3\n", b"index 3\nAAAA\n"),
    ],
)
def test_another_form_is_refused(change: tuple[bytes, bytes]) -> None:
    data = made(3).encode().replace(*change)
    if change[0] == b"\n\n":
        data = data.replace(b"\n\n", b"\n")
    with pytest.raises(AuditProofInvalidError):
        proof.TlogProof.parse(data)


def test_extra_data_travels_along() -> None:
    whole = dataclasses.replace(made(3), extra=b"context")
    assert proof.TlogProof.parse(whole.encode()).extra == b"context"


ranges = st.integers(1, 11).flatmap(
    lambda size: st.integers(0, size - 1).flatmap(
        lambda lo: st.tuples(st.just(lo), st.integers(lo + 1, size), st.just(size))
    )
)


@given(ranges)
def test_a_range_leads_to_the_root_and_no_other_range_does(case: tuple[int, int, int]) -> None:
    lo, hi, size = case
    root = tree.root_hash(size, read)
    hashes = proof.range_proof(lo, hi, size, read)
    assert proof.root_from_range(LEAVES[lo:hi], lo, size, hashes) == root
    for shift, leaves in [
        (lo, LEAVES[lo : hi - 1]),
        (lo + 1, LEAVES[lo + 1 : hi]),
        (lo + 1, LEAVES[lo:hi]),
        (lo, [*LEAVES[lo : hi - 1], b"\0" * 32]),
    ]:
        with contextlib.suppress(ValueError):
            assert proof.root_from_range(leaves, shift, size, hashes) != root


def test_a_range_proof_with_a_hash_more_or_fewer_is_refused() -> None:
    hashes = proof.range_proof(2, 5, 11, read)
    with pytest.raises(ValueError, match="too many"):
        proof.root_from_range(LEAVES[2:5], 2, 11, [*hashes, hashes[0]])
    with pytest.raises(ValueError, match="too few"):
        proof.root_from_range(LEAVES[2:5], 2, 11, hashes[:-1])
    with pytest.raises(ValueError, match="not a range"):
        proof.range_proof(5, 5, 11, read)
