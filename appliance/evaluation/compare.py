"""Two results side by side, with an interval for the difference of the paired margins."""

from __future__ import annotations

from typing import Any

from appliance.core.settings.evaluation import EvaluationSettings
from appliance.evaluation.bootstrap import mean_interval
from appliance.evaluation.gate import newly_refused
from appliance.evaluation.result import EvaluationResult

# name, path in the metrics, whether more is better
MEASURES: tuple[tuple[str, tuple[str, ...], bool], ...] = (
    ("perplexity", ("perplexity",), False),
    ("token accuracy", ("token_accuracy",), True),
    ("bits per token", ("bits_per_token",), False),
    ("bits per character", ("bits_per_character",), False),
    ("bits per byte", ("bits_per_byte",), False),
    ("margin, sum (nats)", ("margin_sum", "mean"), True),
    ("margin per token (nats)", ("margin_per_token", "mean"), True),
    ("pairs with positive margin", ("positive_margin_share",), True),
    ("over-refusal", ("over_refusal",), False),
    ("yes/no/maybe accuracy", ("decisions", "accuracy"), True),
    ("yes/no/maybe macro F1", ("decisions", "macro_f1"), True),
    ("multiple choice accuracy", ("choices", "accuracy", "mean"), True),
    ("ROUGE-1 F1", ("rouge", "rouge1", "f1", "mean"), True),
    ("ROUGE-L F1", ("rouge", "rougeL", "f1", "mean"), True),
)


def value_at(metrics: dict[str, Any], path: tuple[str, ...]) -> float | None:
    """Return the number at ``path``, or None when it was not measured."""
    here: Any = metrics
    for key in path:
        if not isinstance(here, dict) or key not in here:
            return None
        here = here[key]
    return float(here)


def compare(
    before: EvaluationResult, after: EvaluationResult, settings: EvaluationSettings
) -> dict[str, Any]:
    """Return the rows of both results, and the paired differences where items match.

    The margins of the same pair before and after are not independent: the interval is taken
    over their differences (a paired bootstrap).
    """
    rows = []
    for name, path, more_is_better in MEASURES:
        old, new = value_at(before.metrics, path), value_at(after.metrics, path)
        if old is None and new is None:
            continue
        change = None if old is None or new is None else round(new - old, 6)
        better = None if not change else (change > 0) == more_is_better
        rows.append({"name": name, "before": old, "after": new, "change": change, "better": better})
    answer: dict[str, Any] = {"before": before.hash, "after": after.hash, "rows": rows}
    old_margins, new_margins = before.items.get("margins", {}), after.items.get("margins", {})
    shared = sorted(set(old_margins) & set(new_margins))
    if shared:
        gains = [new_margins[k]["per_token"] - old_margins[k]["per_token"] for k in shared]
        answer["margin_gain"] = mean_interval(
            gains,
            samples=settings.bootstrap_samples,
            confidence=settings.confidence,
            seed=settings.seed,
        ).to_dict()
    refused = before.items.get("refused"), after.items.get("refused")
    if refused[0] and refused[1] and set(refused[0]) == set(refused[1]):
        answer["newly_refused"] = newly_refused(before, after)
    return answer
