"""Spans of identifiers, and how overlapping ones become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """An identifier: ``text[start:end]`` is an ``entity`` with this ``score``."""

    start: int
    end: int
    entity: str
    score: float = 1.0


def resolve(spans: Iterable[Span], priority: dict[str, int]) -> list[Span]:
    """Return spans that do not overlap and together cover all that was found.

    Of overlapping spans the best (score, then length, then priority) names the entity and the
    result covers their union, so that no character found by any rule is left in the text.
    """
    merged: list[Span] = []
    for span in sorted(spans):
        if not merged or span.start >= merged[-1].end:
            merged.append(span)
            continue
        last = merged[-1]
        best = max(last, span, key=lambda s: _rank(s, priority))
        merged[-1] = Span(last.start, max(last.end, span.end), best.entity, best.score)
    return merged


def _rank(span: Span, priority: dict[str, int]) -> tuple[float, int, int, str]:
    return span.score, span.end - span.start, priority.get(span.entity, 0), span.entity
