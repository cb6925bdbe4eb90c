"""Accuracy, precision, recall, F1 and the confusion matrix of a labelled task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def classification(expected: Sequence[str], found: Sequence[str]) -> dict[str, Any]:
    """Return the measures of ``found`` against ``expected`` (same length, one or more).

    ``confusion[e][f]`` counts items of class ``e`` answered ``f``. Macro F1 is the plain mean
    over the classes that occur in ``expected``; an undefined precision counts as 0.
    """
    if len(expected) != len(found) or not expected:
        raise ValueError("as many answers as expected labels, and at least one")
    labels = sorted(set(expected) | set(found))
    confusion = {e: dict.fromkeys(labels, 0) for e in labels}
    for wanted, got in zip(expected, found, strict=True):
        confusion[wanted][got] += 1
    classes = {label: _class(confusion, label) for label in labels}
    present = [label for label in labels if classes[label]["support"]]
    right = sum(confusion[label][label] for label in labels)
    return {
        "accuracy": right / len(expected),
        "macro_f1": sum(classes[label]["f1"] for label in present) / len(present),
        "items": len(expected),
        "classes": classes,
        "confusion": confusion,
    }


def _class(confusion: dict[str, dict[str, int]], label: str) -> dict[str, float]:
    hit = confusion[label][label]
    support = sum(confusion[label].values())
    answered = sum(row[label] for row in confusion.values())
    precision = hit / answered if answered else 0.0
    recall = hit / support if support else 0.0
    both = precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / both if both else 0.0,
        "support": support,
    }
