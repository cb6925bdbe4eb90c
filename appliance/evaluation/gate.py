"""The gate: is the adapter better, and not worse elsewhere? A pure decision over two results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from appliance.evaluation.result import EvaluationResult
from appliance.registry.gate import GateThresholds

DIGITS = 4


@dataclass(frozen=True, slots=True)
class Check:
    """One threshold and what was measured."""

    name: str
    ok: bool
    expected: str
    found: str

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"name": self.name, "ok": self.ok, "expected": self.expected, "found": self.found}


@dataclass(frozen=True, slots=True)
class Decision:
    """The gate's word: yes only when every check says yes."""

    before: str
    after: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether the adapter may be promoted."""
        return all(check.ok for check in self.checks)

    @property
    def reasons(self) -> tuple[str, ...]:
        """What failed, in words."""
        return tuple(f"{c.name}: {c.found}, not {c.expected}" for c in self.checks if not c.ok)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "before": self.before,
            "after": self.after,
            "checks": [check.to_dict() for check in self.checks],
        }


def decide(
    before: EvaluationResult, after: EvaluationResult, thresholds: GateThresholds
) -> Decision:
    """Compare ``after`` (base and adapter) with ``before`` (the base alone).

    Results that cannot be compared (other base, data, split or options) fail, and so does a
    measure that is missing: what was not measured is not held.
    """
    checks = [_comparable(before, after)]
    for name, measure, bound, wanted in (
        (
            "perplexity_ratio",
            lambda: float(after.metrics["perplexity"] / before.metrics["perplexity"]),
            lambda found: found <= thresholds.max_perplexity_ratio,
            f"at most {thresholds.max_perplexity_ratio:g}",
        ),
        (
            "margin_gain",
            lambda: _mean_margin(after) - _mean_margin(before),
            lambda found: found >= thresholds.min_margin_gain,
            f"at least {thresholds.min_margin_gain:g} nats per token",
        ),
        (
            "positive_margin_share",
            lambda: float(after.metrics["positive_margin_share"]),
            lambda found: found >= thresholds.min_positive_margin_share,
            f"at least {thresholds.min_positive_margin_share:g}",
        ),
        (
            "over_refusal",
            lambda: newly_refused(before, after),
            lambda found: found <= thresholds.max_over_refusal,
            f"at most {thresholds.max_over_refusal:g}",
        ),
    ):
        checks.append(_check(name, measure, bound, wanted))
    return Decision(before.hash, after.hash, tuple(checks))


def newly_refused(before: EvaluationResult, after: EvaluationResult) -> float:
    """Return the share (0 to 1) of harmless questions refused after and not before."""
    was, now = before.items["refused"], after.items["refused"]
    count = sum(1 for key, refused in now.items() if refused and not was[key])
    return count / len(now)


def _mean_margin(result: EvaluationResult) -> float:
    return float(result.metrics["margin_per_token"]["mean"])


def _check(
    name: str, measure: Callable[[], float], holds: Callable[[float], bool], expected: str
) -> Check:
    try:
        found = measure()
    except (KeyError, ZeroDivisionError):
        return Check(name, ok=False, expected=expected, found="not measured")
    ok = holds(found)  # a NaN holds no threshold
    return Check(name, ok=ok, expected=expected, found=f"{found:.{DIGITS}f}")


def _comparable(before: EvaluationResult, after: EvaluationResult) -> Check:
    differ = [
        name
        for name, same in (
            ("base model", before.subject.model == after.subject.model),
            ("dataset", before.dataset == after.dataset),
            ("split", before.split == after.split),
            ("options", before.options == after.options),
            ("template", before.subject.template == after.subject.template),
            ("records", before.counts == after.counts),
            ("baseline is the base alone", not before.subject.adapter),
        )
        if not same
    ]
    return Check(
        "comparable",
        ok=not differ,
        expected="two results of the same base, data and options",
        found=f"different: {', '.join(differ)}" if differ else "the same",
    )
