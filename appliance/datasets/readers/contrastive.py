"""Contrastive pairs (question, forbidden answer, safe answer) and harmless questions."""

from __future__ import annotations

from typing import Any, Final

from appliance.datasets.readers.base import text_of
from appliance.datasets.record import Record, content_id

QUESTION: Final = ("question", "pergunta", "prompt")
FORBIDDEN: Final = ("forbidden", "forbidden_answer", "resposta_proibida", "proibida", "rejected")
SAFE: Final = ("safe", "safe_answer", "resposta_segura", "segura", "chosen")
ANSWER: Final = ("answer", "resposta")
CATEGORY: Final = ("category", "categoria")
LANGUAGE: Final = ("language", "idioma")
IDENTIFIER: Final = ("id",)


def matches(value: dict[str, Any]) -> bool:
    """Tell whether an object has a question and two answers."""
    return all(any(n in value for n in names) for names in (QUESTION, FORBIDDEN, SAFE))


def matches_harmless(value: dict[str, Any]) -> bool:
    """Tell whether an object is a question alone, or with one answer."""
    return any(n in value for n in QUESTION) and value.keys().isdisjoint({*FORBIDDEN, *SAFE})


def parse(value: dict[str, Any]) -> Record:
    """Return the record of one pair."""
    question, forbidden = text_of(value, *QUESTION), text_of(value, *FORBIDDEN)
    safe = text_of(value, *SAFE)
    return Record(
        id=_identifier(value, "contrastive", question, forbidden, safe),
        kind="preference",
        question=question,
        forbidden=forbidden,
        safe=safe,
        category=text_of(value, *CATEGORY),
        language=text_of(value, *LANGUAGE) or "pt-BR",
        source="contrastive",
    )


def parse_harmless(value: dict[str, Any]) -> Record:
    """Return the record of a question that must simply be answered."""
    question, answer = text_of(value, *QUESTION), text_of(value, *ANSWER)
    return Record(
        id=_identifier(value, "harmless", question, answer),
        kind="harmless",
        question=question,
        answer=answer,
        category=text_of(value, *CATEGORY),
        language=text_of(value, *LANGUAGE) or "pt-BR",
        source="harmless",
    )


def _identifier(value: dict[str, Any], prefix: str, *parts: str) -> str:
    own = text_of(value, *IDENTIFIER)
    return f"{prefix}:{own}" if own else content_id(prefix, *parts)
