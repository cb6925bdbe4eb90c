"""Measure the search: recall and precision on planted identifiers, speed, and the plain engine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from appliance.core.clock import Clock
from appliance.deid.detector import Detector
from appliance.deid.recognizers import ENTITIES
from appliance.deid.spans import Span
from appliance.deid.synthetic import UNLABELLED, Note

_BARE = re.compile(r"\d{3}\.?\d{3}\.?\d{3}-?\d{2}|\d{2}/\d{2}/\d{4}|[\w.]+@[\w.]+")


@dataclass
class Score:
    """What was planted and what was found, by entity.

    ``covered`` counts planted identifiers of which no character is left, under whatever name;
    ``named`` those that also got the right name; ``wrong`` spans that touch nothing planted.
    """

    planted: Counter[str] = field(default_factory=Counter)
    covered: Counter[str] = field(default_factory=Counter)
    named: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    damaged: int = 0
    kept: int = 0

    def recall(self, entity: str | None = None) -> float:
        """Return the share of planted identifiers that were covered."""
        if entity is not None:
            return self.covered[entity] / max(1, self.planted[entity])
        return self.covered.total() / max(1, self.planted.total())

    def precision(self) -> float:
        """Return the share of found spans that touch something planted."""
        hits = self.covered.total()
        return hits / max(1, hits + self.wrong.total())


def score(notes: Sequence[Note], detector: Detector) -> Score:
    """Search ``notes`` and compare with what was planted."""
    result = Score()
    for note in notes:
        found = detector.find(note.text)
        for span in note.spans:
            result.planted[span.entity] += 1
            if covered(span, found):
                result.covered[span.entity] += 1
                wanted = "PERSON" if span.entity == UNLABELLED else span.entity
                result.named[span.entity] += any(
                    f.entity == wanted and f.start < span.end and f.end > span.start for f in found
                )
        for one in found:
            if not any(one.start < s.end and one.end > s.start for s in note.spans):
                result.wrong[one.entity] += 1
        cleaned = _blank(note.text, found)
        result.kept += len(note.keep)
        result.damaged += sum(kept not in cleaned for kept in note.keep)
    return result


def covered(planted: Span, found: Sequence[Span]) -> bool:
    """Tell whether every character of ``planted`` is in one of ``found``."""
    return all(any(f.start <= i < f.end for f in found) for i in range(planted.start, planted.end))


def _blank(text: str, spans: Sequence[Span]) -> str:
    out = list(text)
    for span in spans:
        out[span.start : span.end] = "\x00" * (span.end - span.start)
    return "".join(out)


@dataclass(frozen=True)
class Speed:
    """Characters a second: this search, the plain engine without gates, a bare regex pass."""

    gated: float
    plain: float
    bare: float


def speed(texts: Sequence[str], detector: Detector, clock: Clock) -> Speed:
    """Measure on ``texts``; the plain engine runs every rule on every text."""
    size = sum(map(len, texts))
    names = [entity.name for entity in ENTITIES]

    def rate(work: Sequence[object]) -> float:
        del work
        return size / max(1e-9, clock.monotonic() - started)

    started = clock.monotonic()
    gated = rate([detector.find(text) for text in texts])
    started = clock.monotonic()
    plain = rate([detector.engine.analyze(text, "pt", entities=names) for text in texts])
    started = clock.monotonic()
    bare = rate([_BARE.findall(text) for text in texts])
    return Speed(gated, plain, bare)
