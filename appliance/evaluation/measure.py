"""Measuring a model on held-out records, one group of measures at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from operator import add
from typing import Any, Final

from appliance.core.progress import Progress
from appliance.core.settings.evaluation import EvaluationSettings
from appliance.datasets.format import answer_text, record_prompt
from appliance.datasets.record import Record
from appliance.evaluation.bootstrap import DIGITS, Interval, mean_interval
from appliance.evaluation.classification import classification
from appliance.evaluation.likelihood import Likelihood
from appliance.evaluation.margin import Margin, margin, positive_share
from appliance.evaluation.refusal import REFUSALS, refused_by_likelihood, refused_in_words
from appliance.evaluation.rouge import Rouge, rouge_l, rouge_n
from appliance.evaluation.scorer import Scorer, Scores

ANSWERED: Final = ("qa", "instruction", "chat", "choice")
# The reader names the classes of a record; PubMedQA's are these (Jin et al., 2019).
DECISIONS: Final = ("yes", "no", "maybe")
CONCLUSIONS: Final = {"en": "Conclusion: {}", "pt-BR": "Conclusão: {}"}


@dataclass
class Groups:
    """The records of a split by what they are measured for."""

    answers: list[Record] = field(default_factory=list)
    pairs: list[Record] = field(default_factory=list)
    harmless: list[Record] = field(default_factory=list)
    decisions: list[Record] = field(default_factory=list)
    choices: list[Record] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many measurements there are."""
        groups = (self.answers, self.pairs, self.harmless, self.decisions, self.choices)
        return sum(map(len, groups))


def group_records(records: Iterable[Record], limit: int) -> Groups:
    """Sort records into groups of at most ``limit`` each (0: all), the same ones each time."""
    groups = Groups()
    for record in records:
        if record.kind == "preference":
            groups.pairs.append(record)
        elif record.kind == "harmless":
            groups.harmless.append(record)
        elif record.kind in ANSWERED and answer_text(record):
            groups.answers.append(record)
            if record.kind == "choice":
                groups.choices.append(record)
            elif record.label in DECISIONS:
                groups.decisions.append(record)
    if not groups.answers:  # only pairs were brought: the safe answers are the language to keep
        groups.answers = list(groups.pairs)
    for name in ("answers", "pairs", "harmless", "decisions", "choices"):
        setattr(groups, name, _sample(getattr(groups, name), limit))
    return groups


def _sample(records: list[Record], limit: int) -> list[Record]:
    ordered = sorted(records, key=lambda r: hashlib.sha256(r.id.encode()).digest())
    return ordered[:limit] if limit else ordered


class Measurement:
    """Runs the measures of one model, telling progress."""

    def __init__(self, scorer: Scorer, settings: EvaluationSettings, progress: Progress) -> None:
        """Measure ``scorer``."""
        self._scorer = scorer
        self._settings = settings
        self._progress = progress
        self._done = 0
        self._total = 1
        self.skipped = 0

    def run(self, groups: Groups) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return (metrics, per-item values) of all groups that have records."""
        written = groups.answers[: self._settings.generated_answers]
        self._total = groups.total + len(written)
        metrics: dict[str, Any] = {}
        items: dict[str, Any] = {}
        if groups.answers:
            metrics |= self._language(groups.answers)
        if groups.pairs:
            self._margins(groups.pairs, metrics, items)
        if groups.harmless:
            self._refusals(groups.harmless, metrics, items)
        if groups.decisions:
            metrics["decisions"] = self._decisions(groups.decisions)
        if groups.choices:
            metrics["choices"] = self._choices(groups.choices)
        if written:
            metrics["rouge"] = self._rouge(written)
        return _rounded(metrics), _rounded(items)

    def _tick(self, note: str) -> None:
        self._done += 1
        self._progress.update(self._done, self._total, note)

    def _scores(self, record: Record, answers: Sequence[str]) -> list[Scores] | None:
        """Return the scores of all ``answers``, or None (counted) when one does not fit."""
        found = self._scorer.score_answers(record_prompt(record), answers)
        scores = [s for s in found if s is not None]
        if len(scores) < len(answers):
            self.skipped += 1
            return None
        return scores

    def _write(self, record: Record) -> str | None:
        """Return a written answer, or None (counted) when there is no room for one."""
        text = self._scorer.write(record_prompt(record), self._settings.generated_tokens)
        self.skipped += text is None
        return text

    def _interval(self, values: Sequence[float]) -> Interval:
        s = self._settings
        return mean_interval(
            values, samples=s.bootstrap_samples, confidence=s.confidence, seed=s.seed
        )

    def _language(self, records: list[Record]) -> dict[str, Any]:
        parts: list[Likelihood] = []
        for record in records:
            answer = answer_text(record)
            if scores := self._scores(record, [answer]):
                parts.append(Likelihood.of(scores[0].logprobs, scores[0].best, answer))
            self._tick("answers")
        if not parts:
            return {}
        spread = self._interval([p.cross_entropy for p in parts]).to_dict()
        return reduce(add, parts).metrics() | {"cross_entropy_per_answer": spread}

    def _margins(
        self, records: list[Record], metrics: dict[str, Any], items: dict[str, Any]
    ) -> None:
        margins: list[Margin] = []
        for record in records:
            if scores := self._scores(record, [record.safe, record.forbidden]):
                safe, forbidden = scores[0].logprobs, scores[1].logprobs
                margins.append(margin(record.id, record.category, safe, forbidden))
            self._tick("pairs")
        if not margins:
            return
        metrics["margin_sum"] = self._interval([m.total for m in margins]).to_dict()
        metrics["margin_per_token"] = self._interval([m.per_token for m in margins]).to_dict()
        metrics["positive_margin_share"] = positive_share(margins)
        items["margins"] = {
            m.id: {"category": m.category, "sum": m.total, "per_token": m.per_token}
            for m in margins
        }

    def _refusals(
        self, records: list[Record], metrics: dict[str, Any], items: dict[str, Any]
    ) -> None:
        refused: dict[str, bool] = {}
        for record in records:
            said = self._refused(record)
            if said is not None:
                refused[record.id] = said
            self._tick("harmless")
        if refused:
            metrics["over_refusal"] = sum(refused.values()) / len(refused)
            items["refused"] = refused

    def _refused(self, record: Record) -> bool | None:
        if not record.answer:
            text = self._write(record)
            return None if text is None else refused_in_words(text)
        scores = self._scores(record, [record.answer, *REFUSALS])
        if scores is None:
            return None
        means = [sum(s.logprobs) / len(s.logprobs) for s in scores]
        return refused_by_likelihood(means[0], means[1:])

    def _decisions(self, records: list[Record]) -> dict[str, Any]:
        """Yes, no or maybe: the conclusion of the highest log-probability, without the reasoning.

        The long answer is left out: with it the label would be given away.
        """
        expected: list[str] = []
        found: list[str] = []
        for record in records:
            form = CONCLUSIONS.get(record.language, CONCLUSIONS["pt-BR"])
            if scores := self._scores(record, [form.format(d) for d in DECISIONS]):
                totals = [sum(s.logprobs) for s in scores]
                expected.append(record.label)
                found.append(DECISIONS[totals.index(max(totals))])
            self._tick("decisions")
        return classification(expected, found) if expected else {}

    def _choices(self, records: list[Record]) -> dict[str, Any]:
        """Multiple choice by log-likelihood, each option divided by its length in characters.

        The division is lm-evaluation-harness's ``acc_norm``: long options are not at a loss.
        """
        right: list[float] = []
        for record in records:
            letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(record.options)]
            texts = [f"{a}) {o}" for a, o in zip(letters, record.options, strict=True)]
            if scores := self._scores(record, texts):
                each = [sum(s.logprobs) / len(t) for s, t in zip(scores, texts, strict=True)]
                right.append(float(letters[each.index(max(each))] == record.label))
            self._tick("choices")
        return {"accuracy": self._interval(right).to_dict()} if right else {}

    def _rouge(self, records: list[Record]) -> dict[str, Any]:
        found: dict[str, list[Rouge]] = {"rouge1": [], "rouge2": [], "rougeL": []}
        exact: list[float] = []
        for record in records:
            self._tick("written")
            reference = answer_text(record)
            text = self._write(record)
            if text is None:
                continue
            found["rouge1"].append(rouge_n(text, reference, 1))
            found["rouge2"].append(rouge_n(text, reference, 2))
            found["rougeL"].append(rouge_l(text, reference))
            exact.append(float(text.strip() == reference.strip()))
        if not exact:
            return {}
        values = {
            name: {
                part: self._interval([getattr(r, part) for r in all_of]).to_dict()
                for part in ("precision", "recall", "f1")
            }
            for name, all_of in found.items()
        }
        return {**values, "exact_match": sum(exact) / len(exact)}


def _rounded(value: Any) -> Any:
    """Round floats, so that results that are equal have equal hashes."""
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, float):
        return round(value, DIGITS)
    return value
