"""Multiple choice: a question, its options and the right one."""

from __future__ import annotations

from typing import Any, Final

from appliance.datasets.readers.base import text_of
from appliance.datasets.readers.contrastive import CATEGORY, LANGUAGE, QUESTION
from appliance.datasets.record import Record, RecordInvalidError, content_id

OPTIONS: Final = ("options", "opcoes", "opções", "alternativas", "choices")
ANSWER: Final = ("answer", "resposta", "gabarito", "answer_idx", "label")
LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def matches(value: dict[str, Any]) -> bool:
    """Tell whether an object has a question and options."""
    return any(n in value for n in QUESTION) and any(n in value for n in OPTIONS)


def parse(value: dict[str, Any]) -> Record:
    """Return the record; the answer may be a letter, a position from 0, or an option's text."""
    question = text_of(value, *QUESTION)
    options = _options(next((value[n] for n in OPTIONS if n in value), None))
    label = _label(next((value[n] for n in ANSWER if n in value), None), options)
    return Record(
        id=content_id("choice", question, *options),
        kind="choice",
        question=question,
        context=text_of(value, "context", "contexto"),
        options=tuple(options),
        label=label,
        category=text_of(value, *CATEGORY),
        language=text_of(value, *LANGUAGE) or "pt-BR",
        source="choice",
    )


def _options(found: Any) -> list[str]:
    if isinstance(found, dict):
        found = [found[key] for key in sorted(found)]
    if not isinstance(found, list) or not all(isinstance(o, str) and o.strip() for o in found):
        raise RecordInvalidError("the options are not a list of texts")
    return [option.strip() for option in found]


def _label(found: Any, options: list[str]) -> str:
    letters = LETTERS[: len(options)]
    if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < len(letters):
        return letters[found]
    if isinstance(found, str):
        text = found.strip()
        if len(text) == 1 and text.upper() in letters:
            return text.upper()
        if options.count(text) == 1 and options.index(text) < len(letters):
            return letters[options.index(text)]
    raise RecordInvalidError("the answer is not one of the options")
