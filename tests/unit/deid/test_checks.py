from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.deid import checks
from appliance.deid.people import People

KNOWN = [
    (checks.cpf_ok, "529.982.247-25", True),
    (checks.cpf_ok, "52998224725", True),
    (checks.cpf_ok, "529.982.247-26", False),
    (checks.cpf_ok, "111.111.111-11", False),
    (checks.cpf_ok, "5299822472", False),
    (checks.cnpj_ok, "11.222.333/0001-81", True),
    (checks.cnpj_ok, "12.ABC.345/01DE-35", True),
    (checks.cnpj_ok, "12.ABC.345/01DE-36", False),
    (checks.cnpj_ok, "12.abc.345/01de-35", True),
    (checks.cns_ok, "898 0000 0004 3208", True),
    (checks.cns_ok, "898 0000 0004 3209", False),
    (checks.cns_ok, "398 0000 0004 3208", False),
    (checks.pis_ok, "120.64789.39-0", False),
    (checks.titulo_ok, "0000 0000 0000", False),
]


@pytest.mark.parametrize(("check", "text", "right"), KNOWN)
def test_published_numbers(check: Callable[[str], bool], text: str, *, right: bool) -> None:
    assert check(text) is right


MADE = [
    (checks.cpf_ok, People.cpf),
    (checks.cnpj_ok, People.cnpj),
    (checks.cns_ok, People.cns),
    (checks.pis_ok, People.pis),
    (checks.cnh_ok, People.cnh),
    (checks.titulo_ok, People.titulo),
]


@pytest.mark.parametrize(("check", "make"), MADE)
@given(seed=st.integers(0, 10_000))
def test_made_numbers_are_right_and_one_changed_digit_is_mostly_noticed(
    check: Callable[[str], bool], make: Callable[[People], str], seed: int
) -> None:
    number = make(People(seed))
    assert check(number)
    last = number[-1]
    others = [number[:-1] + digit for digit in "0123456789" if digit != last]
    assert not any(check(other) for other in others)


@pytest.mark.parametrize("check", [c for c, _ in MADE])
@given(text=st.text(max_size=30))
def test_any_text_gets_an_answer(check: Callable[[str], bool], text: str) -> None:
    assert check(text) in {True, False}


@given(seed=st.integers(0, 10_000))
def test_cpf_digits_follow_the_formula_of_the_receita_federal(seed: int) -> None:
    number = [int(c) for c in People(seed).cpf() if c.isdigit()]
    first = sum(v * w for v, w in zip(number, range(10, 1, -1), strict=False)) * 10 % 11 % 10
    second = sum(v * w for v, w in zip(number, range(11, 1, -1), strict=False)) * 10 % 11 % 10
    assert number[9:] == [first, second]
