"""Find identifiers: gates, then Presidio on pieces of bounded length, then the same names again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

from appliance.core.errors import IdentifierSearchError
from appliance.deid.gates import Gates
from appliance.deid.name_model import NameModel
from appliance.deid.recognizers import ENTITIES, LANGUAGE, PRIORITY, build_engine
from appliance.deid.spans import Span, resolve

PIECE: Final = 8_000  # characters: Presidio's removal of duplicates is quadratic in the matches
OVERLAP: Final = 2_600  # characters: more than the longest identifier (a URL) and its label
_NAME_PART = re.compile(r"[^\W\d_][\w'\u2019\-]{2,}")
_PARTICLES: Final = frozenset({"das", "dos", "del", "von", "van"})


class Detector:
    """Finds the identifiers in a text. Build it once: the patterns are compiled then."""

    def __init__(
        self,
        threshold: float = 0.5,
        entities: Iterable[str] | None = None,
        name_model: str | None = None,
    ) -> None:
        """Report spans from ``threshold`` up, of all entities or of those named.

        ``name_model`` is the folder of a spaCy model for names that no label announces.
        """
        self._model = NameModel(name_model) if name_model else None
        wanted = None if entities is None else set(entities)
        self.gates = Gates(tuple(e for e in ENTITIES if wanted is None or e.name in wanted))
        self._names = wanted is None or "PERSON" in wanted
        self.engine = build_engine(threshold)

    @property
    def model_name(self) -> str:
        """The hash of the name model; empty without one."""
        return self._model.name if self._model else ""

    def find(self, text: str, known: Iterable[str] = ()) -> list[Span]:
        """Return the identifiers of ``text``, in order and without overlaps.

        ``known`` are names of people told elsewhere (another note of the same patient): they
        are found wherever they stand. Raises ``IdentifierSearchError`` when a rule fails, never
        a partial answer.
        """
        try:
            spans = [span for start, piece in pieces(text) for span in self._piece(start, piece)]
        except Exception as error:
            raise IdentifierSearchError(
                expected="every rule to run", found=f"{type(error).__name__} in one text"
            ) from error
        found = resolve(spans, PRIORITY)
        if not self._names:
            return found
        people = [text[s.start : s.end] for s in found if s.entity == "PERSON"]
        again = list(same_names(text, [*people, *known]))
        return resolve([*found, *again], PRIORITY) if again else found

    def _piece(self, offset: int, piece: str) -> Iterator[Span]:
        if self._model:
            yield from self._model.find(offset, piece)
        entities = self.gates.open_for(piece)
        if not entities:
            return
        for found in self.engine.analyze(piece, LANGUAGE, entities=entities):
            yield Span(
                found.start + offset, found.end + offset, found.entity_type, round(found.score, 2)
            )


def pieces(text: str) -> Iterator[tuple[int, str]]:
    """Yield (offset, piece) that overlap enough for every identifier to be whole in one."""
    if len(text) <= PIECE + OVERLAP:
        yield 0, text
        return
    for start in range(0, max(1, len(text) - OVERLAP), PIECE):
        yield start, text[start : start + PIECE + OVERLAP]


def same_names(text: str, people: Iterable[str]) -> Iterator[Span]:
    """Yield where the names of ``people``, or one capitalised part of them, stand again."""
    parts = {
        part
        for person in people
        for part in _NAME_PART.findall(person)
        if part.casefold() not in _PARTICLES
    }
    if not parts:
        return
    forms = {
        form for part in parts for form in (part.title(), part.upper(), part) if form[0].isupper()
    }
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    for match in re.finditer(rf"(?<![^\W_])(?:{pattern})(?![^\W_])(?!\s?:)", text):
        yield Span(match.start(), match.end(), "PERSON", 0.6)
