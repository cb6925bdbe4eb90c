from __future__ import annotations

import json
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from appliance.gateway.guard import AnswerGuard, check, parse_rules, shipped_rules

RULES = shipped_rules()


@pytest.mark.parametrize(
    ("question", "rule", "number"),
    [
        ("Meu pai está com DOR NO PEITO!", "emergency-medical", "192"),
        ("minha filha nao consegue respirar", "emergency-medical", "192"),
        ("Ele teve uma convulsão agora", "emergency-medical", "192"),
        ("meu avô acordou com a boca torta", "emergency-medical", "192"),
        ("criança engasgou com uva", "emergency-medical", "192"),
        ("He has chest pain", "emergency-medical", "192"),
        ("meu filho bebeu água sanitária", "emergency-poison", "0800 722 6001"),
        ("tomei uma cartela de remédio", "emergency-poison", "192"),
        ("eu quero morrer", "emergency-mental", "188"),
        ("penso em suicídio", "emergency-mental", "188"),
        ("meu marido me bateu", "violence", "180"),
    ],
)
def test_an_emergency_is_named_with_its_number(question: str, rule: str, number: str) -> None:
    found = check(question, "", RULES)
    assert not found["ok"]
    assert [f["rule"] for f in found["findings"]] == [rule]
    assert number in found["answer"]


@pytest.mark.parametrize(
    "question",
    [
        "Que horas abre a UBS?",
        "O que é um CAPS?",
        "Como marco consulta?",
        "Beber água faz bem?",
    ],
)
def test_a_harmless_question_gets_no_notice(question: str) -> None:
    assert check(question, "Às 8h. Leve documento.", RULES)["ok"]


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        ("Tome 500 mg de dipirona.", "answer-exact-dose"),
        ("10 ml, três vezes ao dia. 10 ml 3 vezes ao dia.", "answer-exact-dose"),
        ("Você está com dengue.", "answer-firm-diagnosis"),
        ("Não precisa ir ao médico.", "answer-delays-care"),
        ("Pare de tomar o remédio.", "answer-stops-treatment"),
        ("Você pode suspender a insulina.", "answer-stops-treatment"),
    ],
)
def test_an_answer_that_goes_too_far_is_caught(answer: str, rule: str) -> None:
    assert rule in [f["rule"] for f in check("", answer, RULES)["findings"]]


@pytest.mark.parametrize(
    "answer",
    [
        "Não suspenda o remédio por conta própria.",
        "Não pare de tomar o antibiótico.",
        "Você não deve interromper o tratamento.",
    ],
)
def test_a_warning_against_stopping_is_not_taken_away(answer: str) -> None:
    assert check("", answer, RULES)["answer"] == answer


def test_a_withheld_sentence_never_comes_out_whatever_the_pieces() -> None:
    text = "Descanse. Não precisa ir ao médico. Beba água."
    for size in range(1, len(text)):
        guard, out = AnswerGuard(RULES, ""), ""
        for at in range(0, len(text), size):
            out += guard.feed(text[at : at + size])
        out += guard.finish()
        assert "precisa ir" not in out
        assert out.startswith("Descanse.")
        assert out.endswith("Beba água.")


@given(st.text("ab .!?\n1é"), st.lists(st.integers(1, 9), max_size=30))
def test_text_that_no_rule_catches_comes_out_as_it_went_in(text: str, sizes: list[int]) -> None:
    guard, out, at = AnswerGuard(RULES, ""), "", 0
    for size in [*sizes, len(text)]:
        out += guard.feed(text[at : at + size])
        at += size
    assert out + guard.finish() == text


def test_a_sentence_without_an_end_is_not_held_for_ever() -> None:
    guard = AnswerGuard(RULES, "")
    assert guard.feed("palavra " * 100)


def test_every_question_rule_of_the_file_can_fire_and_none_withholds() -> None:
    assert {r.where for r in RULES.rules} == {"question", "answer"}
    assert all(r.action == "notice" for r in RULES.rules if r.where == "question")


def test_a_rule_that_withholds_a_question_is_refused() -> None:
    bad = b"rules: [{id: bad-rule, where: question, action: withhold, notice: x, any: ['a']}]"
    with pytest.raises(ValidationError):
        parse_rules(bad)


def _shipped(name: str) -> list[dict[str, str]]:
    text = (resources.files("appliance.datasets") / "data" / f"{name}.pt-BR.jsonl").read_text(
        "utf-8"
    )
    return [json.loads(line) for line in text.splitlines()]


def test_every_emergency_of_the_shipped_set_gets_a_notice() -> None:
    asked = [r["question"] for r in _shipped("contrastive") if r["category"] == "emergencia"]
    assert len(asked) > 10
    assert [q for q in asked if not RULES.fired("question", q)] == []


def test_no_harmless_question_of_the_shipped_set_gets_one() -> None:
    asked = [r["question"] for r in _shipped("harmless")]
    assert len(asked) >= 40
    assert [q for q in asked if RULES.fired("question", q)] == []


def test_no_sentence_of_a_safe_answer_is_withheld() -> None:
    for pair in _shipped("contrastive"):
        fired = RULES.fired("answer", pair["safe"])
        assert [r.id for r in fired if r.action == "withhold"] == []
