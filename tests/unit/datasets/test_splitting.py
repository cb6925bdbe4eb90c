from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import SplitImpossibleError
from appliance.datasets.record import Record, checked
from appliance.datasets.similar import compared_text, jaccard, near_duplicates, shingles
from appliance.datasets.splitting import _Key, deal, join, leaks

SHARES = (0.15, 0.15)


def pair(number: int, category: str, question: str = "") -> Record:
    record = Record(
        id=f"contrastive:{number}",
        kind="preference",
        question=question or f"pergunta {number} sobre {category}",
        forbidden="f",
        safe="s",
        category=category,
        source="contrastive",
    )
    return checked(record, field_characters=1000)


def dealt(records: list[Record], seed: int = 1, ids: frozenset[str] = frozenset()) -> list[str]:
    keys = [_Key.of(r) for r in records]
    pairs = [(p.first, p.second) for p in near_duplicates(records, similarity=0.8, permutations=64)]
    return list(deal(keys, join([k.group for k in keys], pairs), SHARES, seed, ids))


@given(st.lists(st.sampled_from("abcdefg"), min_size=3, max_size=60), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_group_is_never_on_two_sides_and_the_split_is_the_same_again(
    groups: list[str], seed: int
) -> None:
    keys = [_Key(str(i), g, "s") for i, g in enumerate(groups)]
    clusters = join(groups, [])
    if len(set(groups)) < 3:
        with pytest.raises(SplitImpossibleError):
            deal(keys, clusters, SHARES, seed)
        return
    sides = deal(keys, clusters, SHARES, seed)
    found: dict[str, set[str]] = defaultdict(set)
    for group, side in zip(groups, sides, strict=True):
        found[group].add(side)
    assert all(len(where) == 1 for where in found.values())
    assert set(sides) == {"train", "validation", "test"}
    assert deal(keys, clusters, SHARES, seed) == sides


@given(st.permutations(range(30)))
@settings(max_examples=20, deadline=None)
def test_the_order_of_the_records_does_not_matter(order: list[int]) -> None:
    records = [pair(i, "doses" if i % 2 else "gestantes") for i in range(24)]
    records += [pair(24 + i, "abc"[i % 3], f"{LONG} {i % 2}") for i in range(6)]
    wanted = {r.id: s for r, s in zip(records, dealt(records), strict=True)}
    mixed = [records[i] for i in order]
    assert {r.id: s for r, s in zip(mixed, dealt(mixed), strict=True)} == wanted


def test_every_category_of_pairs_has_held_out_pairs() -> None:
    records = [
        pair(i, category) for category in ("a", "b", "c") for i in range(hash_free(category))
    ]
    sides = dealt(records)
    for category in ("a", "b", "c"):
        here = {s for r, s in zip(records, sides, strict=True) if r.category == category}
        assert here == {"train", "validation", "test"}


def hash_free(category: str) -> int:
    return {"a": 3, "b": 7, "c": 40}[category]


def test_the_given_test_ids_are_the_test_set_of_their_source() -> None:
    records = [
        checked(
            Record(id=f"pubmedqa:{i}", kind="qa", question=f"q {i} x{i}", answer="a", label="yes",
                   source="pubmedqa"),
            field_characters=99,
        )
        for i in range(40)
    ]  # fmt: skip
    sides = dealt(records, ids=frozenset(str(i) for i in range(10)))
    assert {r.id for r, s in zip(records, sides, strict=True) if s == "test"} == {
        f"pubmedqa:{i}" for i in range(10)
    }
    assert sides.count("validation") == round(0.15 * 30)


def test_test_ids_of_another_dataset_are_an_error() -> None:
    with pytest.raises(SplitImpossibleError, match="none of them here"):
        dealt([pair(i, "a") for i in range(9)], ids=frozenset({"nobody"}))


LONG = (
    "o paciente chegou com febre alta e tosse seca ha tres dias sem melhora com os remedios de casa"
)


def test_near_duplicates_are_found_and_kept_together() -> None:
    records = [pair(i, "a") for i in range(20)]
    records += [pair(20, "b", f"{LONG}?"), pair(21, "c", f"{LONG} hoje")]
    found = list(near_duplicates(records, similarity=0.8, permutations=64))
    assert [(p.first, p.second) for p in found] == [(20, 21)]
    assert (
        leaks(
            [r if i != 20 else _on(r, "test") for i, r in enumerate(records)],
            [(p.first, p.second) for p in found],
        )["near_duplicate"]
        == 1
    )
    sides = dealt(records)
    assert sides[20] == sides[21]


def _on(record: Record, side: str) -> Record:
    return Record.from_dict({**record.to_dict(), "split": side})


def test_the_same_question_in_other_letters_is_one_group() -> None:
    one, other = pair(1, "a", "Posso tomar, JÁ?"), pair(2, "b", "posso tomar ja")
    assert one.group == other.group


@given(st.text(max_size=60), st.text(max_size=60))
def test_jaccard_is_symmetric_and_one_for_the_same(first: str, second: str) -> None:
    a, b = shingles(first), shingles(second)
    assert jaccard(a, a) == 1
    assert jaccard(a, b) == jaccard(b, a)
    assert 0 <= jaccard(a, b) <= 1


def test_compared_text_ignores_case_accents_and_marks() -> None:
    assert compared_text(pair(1, "a", "Dói? AÍ!")) == "doi ai"
