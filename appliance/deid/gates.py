"""Which rules a text needs: cheap necessary conditions, so that most texts need none."""

from __future__ import annotations

import re
from typing import Final

from appliance.deid.rules import Entity

# These two fold to an i in patterns that ignore case, but not in ``casefold``.
_ODD_I: Final = ("\u0130", "\u0131")
_LETTERS: Final = re.compile(r"[^\W\d_]+")


class Gates:
    """Tells which entities a text may hold. Never says no to one that the rules would find."""

    def __init__(self, entities: tuple[Entity, ...]) -> None:
        self._all = [entity.name for entity in entities]
        self._words = [(entity.name, frozenset(entity.words)) for entity in entities]
        self._parts = [(part, entity.name) for entity in entities for part in entity.parts]
        shapes: dict[str, list[str]] = {}
        for entity in entities:
            for shape in entity.shapes:
                shapes.setdefault(shape, []).append(entity.name)
        self._shapes = [(re.compile(shape, re.IGNORECASE), who) for shape, who in shapes.items()]

    def open_for(self, text: str) -> list[str]:
        """Return the names of the entities whose rules must run on ``text``, in fixed order."""
        if not text.isascii() and any(letter in text for letter in _ODD_I):
            return self._all
        folded = text.casefold()
        letters = set(_LETTERS.findall(folded))
        found = {name for name, words in self._words if not letters.isdisjoint(words)}
        found.update(name for part, name in self._parts if part in folded)
        for shape, names in self._shapes:
            if not found.issuperset(names) and shape.search(text):
                found.update(names)
        return [name for name in self._all if name in found]
