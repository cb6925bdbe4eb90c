from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import RecipeInvalidError
from appliance.datasets.record import Record
from appliance.training.samples import (
    balanced,
    corpus_rows,
    preference_rows,
    sft_rows,
    write_rows,
)

QA = Record(id="q", kind="qa", question="Q?", context="C.", answer="A.", label="yes")
PAIR = Record(id="p", kind="preference", question="P?", safe="S.", forbidden="F.", category="x")
PLAIN = Record(id="h", kind="harmless", question="H?", answer="I.")
NOTE = Record(id="n", kind="note", context="N.")


def test_the_corpus_never_holds_a_forbidden_answer() -> None:
    rows = corpus_rows([QA, PAIR, PLAIN, NOTE])
    assert "F." not in json.dumps(rows)
    assert ["messages" in row for row in rows] == [False, True, True, False]
    assert rows[3] == {"text": "N."}


def test_answers_are_learnt_under_the_house_prompt() -> None:
    rows = sft_rows([QA, PAIR, NOTE], None, 1)
    assert len(rows) == 2
    for row in rows:
        assert [m["role"] for m in row["prompt"]] == ["system", "user"]
    assert {row["completion"] for row in rows} == {"A.\n\nConclusão: yes", "S."}


def test_pairs_become_prompt_chosen_and_rejected() -> None:
    (row,) = preference_rows([QA, PAIR, PLAIN], None, 1)
    assert (row["chosen"], row["rejected"]) == ("S.", "F.")


groups = st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 30), max_size=4)


@given(sizes=groups, limit=st.integers(1, 60), seed=st.integers(0, 5))
def test_a_choice_of_samples_is_balanced_and_the_same_each_time(
    sizes: dict[str, int], limit: int, seed: int
) -> None:
    given_rows = {name: [{"g": name, "i": i} for i in range(n)] for name, n in sizes.items()}
    taken = balanced(given_rows, limit, seed)
    assert taken == balanced(given_rows, limit, seed)
    assert len({(r["g"], r["i"]) for r in taken}) == len(taken) <= limit
    assert len(taken) == min(limit, sum(sizes.values()))
    counts = {name: sum(r["g"] == name for r in taken) for name in sizes}
    for name, count in counts.items():
        if count < sizes[name]:  # a group that was cut has as much as any other, within one
            assert count >= max(counts.values()) - 1


def test_rows_are_private_and_none_at_all_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_rows(path, [{"text": "ção"}], what="text") == 1
    assert path.read_text(encoding="utf-8") == '{"text": "ção"}\n'
    assert path.stat().st_mode & 0o077 == 0
    with pytest.raises(RecipeInvalidError, match="pairs"):
        write_rows(path, [], what="pairs")
