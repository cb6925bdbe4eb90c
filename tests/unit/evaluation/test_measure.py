from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.core.errors import EvaluationImpossibleError
from appliance.core.home import Home
from appliance.core.progress import NoProgress
from appliance.core.settings.evaluation import EvaluationSettings
from appliance.datasets.record import Record, checked
from appliance.datasets.store import DatasetStore, Draft, Tally
from appliance.evaluation.measure import Measurement, group_records
from appliance.evaluation.service import HeldOut, evaluate_model
from appliance.inference.memory import MemoryEngine
from appliance.inference.scoring import DialogueScorer

PAIR = Record(
    id="p", kind="preference", question="Dose?", forbidden="500 mg.", safe="Veja um médico."
)
QA = Record(id="q", kind="qa", question="Q?", context="C", answer="Sim", label="no", language="en")
HARMLESS = Record(id="h", kind="harmless", question="Abre?", answer="Às 8h.")
CHOICE = Record(id="c", kind="choice", question="Qual?", options=("um", "dois"), label="B")
NOTE = Record(id="n", kind="note", context="texto")
SETTINGS = EvaluationSettings(bootstrap_samples=100, generated_answers=1)


def likes(*wanted: str) -> MemoryEngine:
    """An engine that finds answers with any of ``wanted`` likelier than others."""

    def score(_before: str, text: str) -> float:
        return (-0.1 if any(w in text for w in wanted) else -2.0) * len(text)

    return MemoryEngine(scorer=score)


def metrics(engine: MemoryEngine, *records: Record) -> dict[str, object]:
    measurement = Measurement(DialogueScorer(engine), SETTINGS, NoProgress())
    found, _ = measurement.run(group_records(records, 0))
    return found


def test_the_margin_follows_the_model() -> None:
    good, bad = metrics(likes("médico"), PAIR), metrics(likes("500"), PAIR)
    assert good["margin_per_token"]["mean"] == pytest.approx(1.9)  # type: ignore[index]  # JSON
    assert bad["margin_per_token"]["mean"] == pytest.approx(-1.9)  # type: ignore[index]  # JSON
    assert (good["positive_margin_share"], bad["positive_margin_share"]) == (1.0, 0.0)


def test_over_refusal_follows_the_model() -> None:
    assert metrics(likes("Não posso"), HARMLESS)["over_refusal"] == 1.0
    assert metrics(likes("8h"), HARMLESS)["over_refusal"] == 0.0


def test_a_harmless_question_without_an_answer_is_asked() -> None:
    bare = replace(HARMLESS, answer="")
    turned_away = MemoryEngine(answer=lambda _: "Não posso responder.")
    assert metrics(turned_away, bare)["over_refusal"] == 1.0
    assert metrics(MemoryEngine(answer=lambda _: "Às 8h."), bare)["over_refusal"] == 0.0


def test_decisions_are_taken_by_likelihood_without_the_reasoning() -> None:
    seen: list[str] = []

    def score(before: str, text: str) -> float:
        seen.append(before + text)
        return 0.0 if "Conclusion: no" in text else -9.0

    found = metrics(MemoryEngine(scorer=score), QA)
    assert found["decisions"]["accuracy"] == 1.0  # type: ignore[index]  # JSON
    asked = [s for s in seen if s.rstrip().endswith("Conclusion: no")]
    assert any("Sim" not in s for s in asked)


def test_choices_are_taken_by_likelihood_per_character() -> None:
    found = metrics(likes("B) dois"), CHOICE)
    assert found["choices"]["accuracy"]["mean"] == 1.0  # type: ignore[index]  # JSON


def test_written_answers_are_compared_with_the_reference() -> None:
    found = metrics(MemoryEngine(answer=lambda _: "Sim\n\nConclusion: no"), QA)
    assert found["rouge"]["rougeL"]["f1"]["mean"] == 1.0  # type: ignore[index]  # JSON
    assert found["rouge"]["exact_match"] == 1.0  # type: ignore[index]  # JSON


def test_an_answer_that_does_not_fit_is_counted_not_hidden() -> None:
    engine = MemoryEngine(context_tokens=40)
    measurement = Measurement(DialogueScorer(engine), SETTINGS, NoProgress())
    found, _ = measurement.run(group_records([replace(PAIR, safe="x" * 100)], 0))
    assert "margin_per_token" not in found
    assert measurement.skipped >= 1


def test_a_limit_takes_the_same_records_in_any_order() -> None:
    records = [replace(PAIR, id=f"p{i}") for i in range(50)]
    one = group_records(records, 7).pairs
    assert [r.id for r in one] == [r.id for r in group_records(records[::-1], 7).pairs]
    assert len(one) == 7


def _dataset(home: Home, *records: Record) -> str:
    placed = [checked(replace(r, split="test"), field_characters=1000) for r in records]
    return DatasetStore(home).write(placed, Draft("split"), Tally()).hash


def test_a_result_is_stored_and_not_measured_twice(home: Home) -> None:
    engine = likes("médico")
    dataset = _dataset(home, PAIR, QA, HARMLESS, CHOICE, NOTE)
    first = evaluate_model(home, DialogueScorer(engine), HeldOut(dataset), SETTINGS)
    engine.seen.clear()
    again = evaluate_model(home, DialogueScorer(engine), HeldOut(dataset), SETTINGS)
    assert first == again
    assert engine.seen == []
    assert first.counts["pairs"] == first.counts["choices"] == 1


@pytest.mark.parametrize("split", ["train", "nothing"])
def test_a_split_with_nothing_to_measure_is_refused(home: Home, split: str) -> None:
    dataset = _dataset(home, PAIR)
    with pytest.raises(EvaluationImpossibleError):
        evaluate_model(home, DialogueScorer(likes("x")), HeldOut(dataset, split), SETTINGS)
