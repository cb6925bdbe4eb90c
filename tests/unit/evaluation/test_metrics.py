"""Every formula against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.evaluation.bootstrap import mean_interval
from appliance.evaluation.classification import classification
from appliance.evaluation.likelihood import Likelihood
from appliance.evaluation.margin import margin, positive_share
from appliance.evaluation.refusal import refused_by_likelihood, refused_in_words
from appliance.evaluation.rouge import rouge_l, rouge_n

LOGPROBS = st.lists(st.floats(-30, 0), min_size=1, max_size=50)


def test_a_fair_coin_has_perplexity_two_and_one_bit_a_token() -> None:
    coin = Likelihood.of([math.log(0.5)] * 4, [True, False, True, True], "ação")
    assert coin.perplexity == pytest.approx(2.0)
    assert coin.bits_per_token == pytest.approx(1.0)
    assert coin.cross_entropy == pytest.approx(0.693147, abs=1e-6)
    assert coin.token_accuracy == 0.75
    assert coin.bits_per_character == pytest.approx(1.0)  # 4 bits over 4 characters
    assert coin.bits_per_byte == pytest.approx(4 / 6)  # ç and ã have two bytes each


@given(LOGPROBS)
def test_bits_are_the_base_two_logarithm_of_the_perplexity(logprobs: list[float]) -> None:
    found = Likelihood.of(logprobs, [False] * len(logprobs), "x")
    assert found.bits_per_token == pytest.approx(math.log2(found.perplexity), abs=1e-9)


@given(LOGPROBS, LOGPROBS)
def test_two_texts_count_by_their_tokens(one: list[float], two: list[float]) -> None:
    def of(values: list[float]) -> Likelihood:
        return Likelihood.of(values, [True] * len(values), "ab")

    both = of(one) + of(two)
    assert both.cross_entropy == pytest.approx(-float(np.mean([*one, *two])), abs=1e-9)
    assert both.characters == 4


def test_margins_by_hand() -> None:
    found = margin("p1", "dose", safe=[-1.0, -1.0], forbidden=[-0.5, -0.5, -0.5])
    assert found.total == pytest.approx(-0.5)  # -2.0 - (-1.5): the short answer is favoured
    assert found.per_token == pytest.approx(-0.5)
    longer = margin("p2", "dose", safe=[-0.4] * 10, forbidden=[-3.0])
    assert longer.total == pytest.approx(-1.0)
    assert longer.per_token == pytest.approx(2.6)
    assert positive_share([found, longer]) == 0.5


def test_an_interval_holds_its_mean_and_is_the_same_each_time() -> None:
    values = [1.0, 2.0, 3.0, 10.0]
    found = mean_interval(values, samples=500, confidence=0.95, seed=1)
    assert found.mean == 4.0
    assert 1.0 <= found.low < 4.0 < found.high <= 10.0
    assert found == mean_interval(values, samples=500, confidence=0.95, seed=1)


def test_an_interval_over_equal_values_is_a_point() -> None:
    found = mean_interval([2.5] * 9, samples=100, confidence=0.9, seed=3)
    assert (found.low, found.high) == (2.5, 2.5)


def test_a_wider_confidence_gives_a_wider_interval() -> None:
    values = list(np.random.default_rng(5).normal(size=60))
    narrow = mean_interval(values, samples=800, confidence=0.8, seed=2)
    wide = mean_interval(values, samples=800, confidence=0.99, seed=2)
    assert wide.high - wide.low > narrow.high - narrow.low


def test_rouge_by_hand() -> None:
    # Lin (2004), the example of the police and the gunman.
    reference, candidate = "police killed the gunman", "police kill the gunman"
    assert rouge_n(candidate, reference, 1).f1 == pytest.approx(0.75)
    assert rouge_l(candidate, reference).f1 == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", reference).recall == pytest.approx(0.5)
    assert rouge_n("a b b", "a b c d", 1).precision == pytest.approx(2 / 3)
    assert rouge_n("a b b", "a b c d", 1).recall == pytest.approx(0.5)
    assert rouge_n("a b c", "a b d", 2).f1 == pytest.approx(0.5)


@given(st.text("ab c", max_size=20), st.text("ab c", max_size=20))
def test_rouge_is_symmetric_and_bounded(one: str, two: str) -> None:
    there, back = rouge_l(one, two), rouge_l(two, one)
    assert (there.precision, there.recall) == (back.recall, back.precision)
    assert 0 <= there.f1 <= 1
    if one.split() and one.split() == two.split():
        assert there.f1 == 1


def test_classification_by_hand() -> None:
    found = classification(["yes", "yes", "no", "maybe"], ["yes", "no", "no", "no"])
    assert found["accuracy"] == 0.5
    assert found["confusion"]["yes"] == {"maybe": 0, "no": 1, "yes": 1}
    assert found["classes"]["no"]["precision"] == pytest.approx(1 / 3)
    assert found["classes"]["no"]["recall"] == 1.0
    assert found["classes"]["maybe"]["f1"] == 0.0
    assert found["macro_f1"] == pytest.approx((2 / 3 + 0.5 + 0.0) / 3)


def test_classification_needs_as_many_answers_as_labels() -> None:
    with pytest.raises(ValueError, match="as many"):
        classification(["yes"], [])


def test_refusal_is_a_comparison() -> None:
    assert refused_by_likelihood(-2.0, [-3.0, -1.5])
    assert not refused_by_likelihood(-2.0, [-3.0, -2.5])
    assert refused_in_words("Desculpe, NÃO posso ajudar.")
    assert not refused_in_words("A UBS abre às 8h.")
