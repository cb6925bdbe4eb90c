"""Anybody draws the same sample from the same seed."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from appliance.console.sampling import Draw, digest, draw, new_seed

keys = st.lists(st.integers(0, 2**62), unique=True, max_size=60)
seeds = st.binary(min_size=16, max_size=16).map(bytes.hex)


@given(keys, seeds, st.integers(1, 20), st.randoms())
def test_the_order_of_reading_does_not_matter(
    population: list[int], seed: str, size: int, random: object
) -> None:
    first = draw(population, seed, size)
    random.shuffle(population)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    assert draw(population, seed, size) == first
    assert len(first) == min(size, len(population))
    assert first == sorted(set(first))


@given(keys, seeds, st.integers(1, 20))
def test_it_is_the_rule_that_the_docs_give(population: list[int], seed: str, size: int) -> None:
    ranked = sorted(
        population,
        key=lambda k: hashlib.sha256(bytes.fromhex(seed) + k.to_bytes(8, "big")).digest(),
    )
    assert draw(population, seed, size) == sorted(ranked[:size])


def test_a_known_draw() -> None:
    assert draw(range(100), "00" * 16, 3) == [42, 71, 80]


def test_seeds_differ() -> None:
    assert new_seed() != new_seed()
    assert draw(range(1000), "00" * 16, 5) != draw(range(1000), "01" * 16, 5)


def test_what_the_log_keeps_is_enough() -> None:
    made = Draw("ab" * 16, 3, "a", "b", 100, digest([1, 2]))
    assert Draw.from_detail({**made.to_detail(), "more": 1}) == made
