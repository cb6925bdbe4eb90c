from __future__ import annotations

import math
from typing import Any

import pytest

from appliance.core.errors import EvaluationMissingError, StateDamagedError
from appliance.core.home import Home
from appliance.core.settings.evaluation import EvaluationSettings
from appliance.evaluation.compare import compare
from appliance.evaluation.gate import decide
from appliance.evaluation.result import EvaluationResult, EvaluationStore, Subject
from appliance.registry.gate import GateThresholds

THRESHOLDS = GateThresholds(
    max_perplexity_ratio=1.1,
    min_margin_gain=0.05,
    min_positive_margin_share=0.5,
    max_over_refusal=0.1,
)


def result(adapter: str = "", **changes: Any) -> EvaluationResult:
    fields: dict[str, Any] = {
        "subject": Subject(engine="embedded", model="m", adapter=adapter, template="t"),
        "dataset": "d",
        "split": "test",
        "options": {"seed": 1},
        "counts": {"pairs": 2},
        "metrics": {
            "perplexity": 10.0,
            "margin_per_token": {"mean": 0.0, "low": -1.0, "high": 1.0, "items": 2},
            "positive_margin_share": 0.5,
            "over_refusal": 0.0,
        },
        "items": {
            "refused": {f"h{i}": False for i in range(10)},
            "margins": {
                "p1": {"category": "x", "sum": 1.0, "per_token": 0.1},
                "p2": {"category": "x", "sum": -1.0, "per_token": -0.1},
            },
        },
    }
    fields["metrics"] = fields["metrics"] | changes.pop("metrics", {})
    return EvaluationResult.of(**(fields | changes))


BETTER = {
    "perplexity": 10.5,
    "margin_per_token": {"mean": 0.2},
    "positive_margin_share": 0.9,
}


def failed(after: EvaluationResult, before: EvaluationResult | None = None) -> list[str]:
    decision = decide(before or result(), after, THRESHOLDS)
    assert decision.ok == (not [c for c in decision.checks if not c.ok])
    return [c.name for c in decision.checks if not c.ok]


def test_a_better_adapter_passes() -> None:
    assert failed(result("a", metrics=BETTER)) == []


def test_a_worse_adapter_is_refused() -> None:
    worse = {"perplexity": 30.0, "margin_per_token": {"mean": -0.3}, "positive_margin_share": 0.2}
    refused = {"refused": {f"h{i}": i < 5 for i in range(10)}}
    assert failed(result("a", metrics=worse, items=refused)) == [
        "perplexity_ratio",
        "margin_gain",
        "positive_margin_share",
        "over_refusal",
    ]


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"perplexity": 11.01}, "perplexity_ratio"),
        ({"perplexity": math.nan}, "perplexity_ratio"),
        ({"margin_per_token": {"mean": 0.049}}, "margin_gain"),
        ({"positive_margin_share": 0.49}, "positive_margin_share"),
    ],
)
def test_each_threshold_alone_refuses(change: dict[str, Any], check: str) -> None:
    before, after = result(), result("a", metrics=BETTER).model_copy()
    after = after.model_copy(update={"metrics": after.metrics | change})
    assert failed(after, before) == [check]


def test_only_questions_the_adapter_made_it_refuse_count() -> None:
    was = {"refused": {f"h{i}": i < 5 for i in range(10)}}
    now = {"refused": {f"h{i}": i < 6 for i in range(10)}}
    assert failed(result("a", metrics=BETTER, items=now), result(items=was)) == []


def test_what_was_not_measured_does_not_hold() -> None:
    after = result("a", metrics=BETTER, items={})
    assert failed(after) == ["over_refusal"]


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "other"},
        {"split": "train"},
        {"options": {"seed": 2}},
        {"counts": {"pairs": 1}},
        {"subject": Subject(engine="embedded", model="other", adapter="a", template="t")},
        {"subject": Subject(engine="embedded", model="m", adapter="a", template="u")},
    ],
)
def test_results_of_different_measurements_are_refused(change: dict[str, Any]) -> None:
    assert "comparable" in failed(result("a", metrics=BETTER, **change))


def test_a_baseline_with_an_adapter_is_refused() -> None:
    assert "comparable" in failed(result("a", metrics=BETTER), result("b"))


def test_the_reasons_say_what_was_found() -> None:
    reasons = decide(result(), result("a", metrics={"perplexity": 20.0}), THRESHOLDS).reasons
    assert reasons[0] == "perplexity_ratio: 2.0000, not at most 1.1"


def test_a_result_is_stored_and_found_by_its_content(home: Home) -> None:
    store = EvaluationStore(home)
    saved = store.save(result("a"))
    assert store.open(saved.hash[:8]) == saved
    assert store.find(saved.subject, "d", "test", {"seed": 1}) == saved
    assert store.find(saved.subject, "d", "train", {"seed": 1}) is None
    with pytest.raises(EvaluationMissingError):
        store.open("0" * 64)


def test_a_result_edited_afterwards_is_not_believed(home: Home) -> None:
    store = EvaluationStore(home)
    saved = store.save(result("a"))
    path = home.evaluations / f"{saved.hash}.json"
    path.write_text(path.read_text().replace('"perplexity":10', '"perplexity":9'))
    with pytest.raises(StateDamagedError):
        store.open(saved.hash)


def test_a_comparison_pairs_the_margins() -> None:
    better = {
        "margins": {
            "p1": {"category": "x", "sum": 1.0, "per_token": 0.3},
            "p2": {"category": "x", "sum": -1.0, "per_token": 0.1},
        },
        "refused": {f"h{i}": i == 0 for i in range(10)},
    }
    found = compare(result(), result("a", metrics=BETTER, items=better), EvaluationSettings())
    rows = {row["name"]: row for row in found["rows"]}
    assert found["margin_gain"]["mean"] == pytest.approx(0.2)
    assert found["newly_refused"] == 0.1
    assert rows["perplexity"]["better"] is False
    assert rows["margin per token (nats)"]["better"] is True
