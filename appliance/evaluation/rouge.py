"""ROUGE (Lin, 2004): how much of the reference a written answer repeats, and the reverse.

ROUGE-N counts shared n-grams (clipped); ROUGE-L is the longest common subsequence of words.
Precision = shared / in the answer, recall = shared / in the reference, F1 = 2PR / (P + R).
Words are folded (case, accents, punctuation), without stemming: Portuguese and English together.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from appliance.datasets.record import fold


@dataclass(frozen=True, slots=True)
class Rouge:
    """Precision, recall and F1, each 0 to 1."""

    precision: float
    recall: float
    f1: float


def rouge_n(answer: str, reference: str, n: int) -> Rouge:
    """Return ROUGE-N of ``answer`` against ``reference``."""
    left, right = _ngrams(_words(answer), n), _ngrams(_words(reference), n)
    return _rouge(sum((left & right).values()), left.total(), right.total())


def rouge_l(answer: str, reference: str) -> Rouge:
    """Return ROUGE-L of ``answer`` against ``reference``."""
    left, right = _words(answer), _words(reference)
    return _rouge(_longest_common(left, right), len(left), len(right))


def _words(text: str) -> list[str]:
    return fold(text).split()


def _ngrams(words: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _longest_common(left: Sequence[str], right: Sequence[str]) -> int:
    row = [0] * (len(right) + 1)
    for word in left:
        diagonal = 0
        for j, other in enumerate(right, start=1):
            above = row[j]
            row[j] = diagonal + 1 if word == other else max(row[j], row[j - 1])
            diagonal = above
    return row[-1]


def _rouge(shared: int, answer: int, reference: int) -> Rouge:
    precision = shared / answer if answer else 0.0
    recall = shared / reference if reference else 0.0
    both = precision + recall
    return Rouge(precision, recall, 2 * precision * recall / both if both else 0.0)
