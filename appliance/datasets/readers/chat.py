"""OpenAI chat JSONL, and its preference form."""

from __future__ import annotations

from typing import Any, Final

from appliance.datasets.readers.base import list_of, text_of
from appliance.datasets.record import Record, RecordInvalidError, content_id

ROLES: Final = frozenset({"system", "developer", "user", "assistant"})


def matches(value: dict[str, Any]) -> bool:
    """Tell whether an object is a conversation."""
    return isinstance(value.get("messages"), list)


def matches_preference(value: dict[str, Any]) -> bool:
    """Tell whether an object is a preference between two answers."""
    return "preferred_output" in value and "non_preferred_output" in value


def parse(value: dict[str, Any]) -> Record:
    """Return the record of a conversation: its last answer is the one to learn."""
    messages = _messages(list_of(value, "messages"))
    if len(messages) < 2 or messages[-1][0] != "assistant" or messages[-2][0] != "user":  # noqa: PLR2004 - a question and its answer
        raise RecordInvalidError("the conversation does not end with a user and an assistant")
    return Record(
        id=content_id("chat", *(text for _, text in messages)),
        kind="chat",
        question=messages[-2][1],
        answer=messages[-1][1],
        turns=tuple(messages[:-2]),
        category=text_of(value, "category"),
        source="chat",
    )


def parse_preference(value: dict[str, Any]) -> Record:
    """Return the record of a preference: ``input.messages`` and the two outputs."""
    given = value.get("input")
    messages = _messages(list_of(given, "messages")) if isinstance(given, dict) else []
    if not messages or messages[-1][0] != "user":
        raise RecordInvalidError("input does not end with a user's message")
    question = messages[-1][1]
    safe = _answer(value, "preferred_output")
    forbidden = _answer(value, "non_preferred_output")
    return Record(
        id=content_id("preference", question, safe, forbidden),
        kind="preference",
        question=question,
        safe=safe,
        forbidden=forbidden,
        turns=tuple(messages[:-1]),
        category=text_of(value, "category"),
        source="preference",
    )


def _answer(value: dict[str, Any], name: str) -> str:
    messages = _messages(list_of(value, name))
    if not messages or messages[-1][0] != "assistant":
        raise RecordInvalidError(f"{name} does not end with an assistant's message")
    return messages[-1][1]


def _messages(values: list[Any]) -> list[tuple[str, str]]:
    messages = []
    for value in values:
        if not isinstance(value, dict) or text_of(value, "role") not in ROLES:
            raise RecordInvalidError("a message has no role that is known")
        content = value.get("content")
        if isinstance(content, list):
            parts = [part.get("text") for part in content if isinstance(part, dict)]
            if len(parts) != len(content) or not all(isinstance(p, str) for p in parts):
                raise RecordInvalidError("a message holds something that is not text")
            content = "\n".join(str(part) for part in parts)
        if not isinstance(content, str):
            raise RecordInvalidError("a message holds no text")
        messages.append((text_of(value, "role"), content.strip()))
    return messages
