"""PubMedQA: one JSON object keyed by PMID (Jin et al. 2019, arXiv:1909.06146)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from appliance.datasets.readers.base import Item, Source, list_of, text_of
from appliance.datasets.record import Record, RecordInvalidError

DECISIONS = frozenset({"yes", "no", "maybe"})
MARK = "QUESTION"


def items(document: dict[str, Any], source: Source) -> Iterator[Item]:
    """Yield the records of a document that is already parsed."""
    for position, (key, value) in enumerate(document.items(), start=1):
        where = f"key {key}" if key.isdecimal() else f"entry {position}"
        yield source.item(where, partial(parse, key, value))


def parse(key: str, value: Any) -> Record:
    """Return the record of one PMID."""
    if not isinstance(value, dict):
        raise RecordInvalidError("the entry is not an object")
    if not key.isdecimal():
        raise RecordInvalidError("the key is not a PMID")
    contexts = list_of(value, "CONTEXTS")
    if not all(isinstance(part, str) for part in contexts):
        raise RecordInvalidError("CONTEXTS holds something that is not text")
    label = text_of(value, "final_decision")
    if label and label not in DECISIONS:
        raise RecordInvalidError("final_decision is not yes, no or maybe")
    return Record(
        id=f"pubmedqa:{key}",
        kind="qa",
        question=text_of(value, "QUESTION"),
        context="\n".join(part.strip() for part in contexts),
        answer=text_of(value, "LONG_ANSWER"),
        label=label,
        language="en",
        source="pubmedqa",
    )
