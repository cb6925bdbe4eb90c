"""The Merkle tree against its definition, against 196 vectors by others, and against forgeries."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit import tree

ROOT = Path(__file__).resolve().parents[3].parent / "shared"
VECTORS = sorted((ROOT / "vectors" / "rfc6962" / "testdata").rglob("*.json"))


def mth(leaves: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word by word."""
    if not leaves:
        return tree.EMPTY_ROOT
    if len(leaves) == 1:
        return tree.leaf_hash(leaves[0])
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return tree.node_hash(mth(leaves[:split]), mth(leaves[split:]))


def reader(leaves: list[bytes]) -> tree.HashReader:
    def read(level: int, index: int) -> bytes:
        part = leaves[index << level : (index + 1) << level]
        if len(part) != 1 << level:
            raise LookupError(level, index)
        return mth(part)

    return read


def entries(count: int) -> list[bytes]:
    return [b"entry %d" % i for i in range(count)]


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def outcome(case: dict[str, Any]) -> bool:
    proof = [raw(h) for h in case["proof"] or []]
    if "leafIdx" in case:
        return tree.verify_inclusion(
            raw(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, raw(case["root"])
        )
    return tree.verify_consistency(
        case["size1"], case["size2"], proof, raw(case["root1"]), raw(case["root2"])
    )


def test_all_vectors_are_here() -> None:
    assert len(VECTORS) == 196


@pytest.mark.parametrize("path", VECTORS, ids=lambda p: f"{p.parts[-3]}-{p.parts[-2]}-{p.stem}")
def test_vector(path: Path) -> None:
    case = json.loads(path.read_text())
    assert outcome(case) is not case["wantErr"]


@given(st.integers(0, 70))
def test_the_compact_range_names_the_root_of_the_definition(size: int) -> None:
    edge = tree.CompactRange()
    for entry in entries(size):
        edge.append(tree.leaf_hash(entry))
    read = reader(entries(size))
    assert edge.root() == mth(entries(size)) == tree.root_hash(size, read)
    assert tree.CompactRange.load(size, read).hashes == edge.hashes


@given(st.integers(0, 40))
def test_an_append_reports_every_node_it_completes(size: int) -> None:
    leaves = entries(size)
    edge = tree.CompactRange()
    made = [node for e in leaves for node in edge.append(tree.leaf_hash(e))]
    read = reader(leaves)
    assert all(read(level, index) == value for level, index, value in made)
    assert len({(level, index) for level, index, _ in made}) == len(made)
    assert len(made) == sum(size >> level for level in range(size.bit_length()))


@given(st.integers(1, 64).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_every_inclusion_proof_verifies_and_no_other_leaf_does(case: tuple[int, int]) -> None:
    index, size = case
    leaves = entries(size)
    proof = tree.inclusion_proof(index, size, reader(leaves))
    root = mth(leaves)
    for other in range(size):
        accepted = tree.verify_inclusion(tree.leaf_hash(leaves[index]), other, size, proof, root)
        assert accepted is (other == index)
    assert not tree.verify_inclusion(tree.leaf_hash(b"forged"), index, size, proof, root)


@given(st.integers(1, 64).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_every_consistency_proof_verifies_and_a_fork_does_not(case: tuple[int, int]) -> None:
    old, new = case
    leaves = entries(new)
    proof = tree.consistency_proof(old, new, reader(leaves))
    assert tree.verify_consistency(old, new, proof, mth(leaves[:old]), mth(leaves))
    forked = [b"forged", *leaves[1:]]
    assert not tree.verify_consistency(old, new, proof, mth(forked[:old]), mth(leaves))
    assert not tree.verify_consistency(old, new, proof, mth(leaves[:old]), mth(forked))


@given(st.data())
def test_a_changed_proof_never_verifies(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 64))
    index = data.draw(st.integers(0, size - 1))
    leaves = entries(size)
    proof = tree.inclusion_proof(index, size, reader(leaves))
    at = data.draw(st.integers(0, len(proof) - 1))
    bit = data.draw(st.integers(0, 255))
    value = int.from_bytes(proof[at], "big") ^ (1 << bit)
    proof[at] = value.to_bytes(32, "big")
    leaf = tree.leaf_hash(leaves[index])
    assert not tree.verify_inclusion(leaf, index, size, proof, mth(leaves))


def test_a_leaf_outside_the_tree_has_no_proof() -> None:
    with pytest.raises(ValueError, match="not in a tree"):
        tree.inclusion_proof(3, 3, reader(entries(3)))
    with pytest.raises(ValueError, match="does not come before"):
        tree.consistency_proof(4, 3, reader(entries(3)))
    with pytest.raises(ValueError, match="describe"):
        tree.CompactRange(3, [b"x"])


def test_nothing_is_shown_about_the_empty_tree() -> None:
    root = mth(entries(5))
    assert not tree.verify_consistency(0, 0, [], tree.EMPTY_ROOT, tree.EMPTY_ROOT)
    assert not tree.verify_consistency(0, 5, [], tree.EMPTY_ROOT, root)
    assert not tree.verify_consistency(0, 5, [root], tree.EMPTY_ROOT, root)
    assert not tree.verify_consistency(6, 5, [], root, root)
