"""A spaCy model that finds names without a label, when one was trained or carried in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from appliance.core.canonical import tree_hash
from appliance.core.errors import InputMissingError
from appliance.deid.spans import Span

SCORE: Final = 0.7
# Words of letters, the first with two or more: no number, no bracket, no heading with a colon.
_NAME: Final = re.compile(
    r"(?:[^\W\d_]\.?|[^\W\d_][^\W\d_.'\u2019\-]+(?:['\u2019\-][^\W\d_]+)?)"
    r"(?:\s(?:[^\W\d_]\.?|[^\W\d_]+(?:['\u2019\-][^\W\d_]+)?)){0,7}"
)
LABELS: Final = frozenset({"PERSON", "PER", "PESSOA"})


class NameModel:
    """Finds people's names; its hash is part of the policy."""

    def __init__(self, folder: str) -> None:
        """Load the model in ``folder`` (raises ``InputMissingError``)."""
        import spacy

        path = Path(folder)
        if not (path / "config.cfg").is_file():
            raise InputMissingError(
                expected="a spaCy model's folder (deid.name_model)", found=f"none at {path}"
            )
        self.name = tree_hash(path)
        self._model: Any = spacy.load(path)

    def find(self, offset: int, text: str) -> Iterator[Span]:
        """Yield the names in ``text``, moved by ``offset``."""
        for entity in self._model(text).ents:
            if entity.label_ in LABELS and _NAME.fullmatch(entity.text):
                yield Span(offset + entity.start_char, offset + entity.end_char, "PERSON", SCORE)
