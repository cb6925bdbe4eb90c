"""Server-sent events, read: the ``data:`` payloads of a response, one JSON object each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

DONE = "[DONE]"


def events(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of ``data:`` lines until ``[DONE]``; comments are skipped.

    Raises ``ValueError`` on a payload that is not a JSON object.
    """
    for line in lines:
        field, _, value = line.partition(":")
        if field != "data":
            continue
        payload = value.removeprefix(" ")
        if payload == DONE:
            return
        event = json.loads(payload)
        if not isinstance(event, dict):
            raise ValueError("an event is not a JSON object")  # noqa: TRY004 - one error for all
        yield event
