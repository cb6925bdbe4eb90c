"""Alpaca: ``instruction``, ``input``, ``output``, as a list of objects or as three lists."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from appliance.core.errors import InputInvalidError
from appliance.datasets.readers.base import Item, Source, text_of
from appliance.datasets.record import Record, content_id

COLUMNS: Final = ("instruction", "input", "output")


def matches(value: dict[str, Any]) -> bool:
    """Tell whether an object looks like one of Alpaca."""
    return "instruction" in value and "output" in value


def parse(value: dict[str, Any]) -> Record:
    """Return the record of one object."""
    question, context, answer = (text_of(value, name) for name in COLUMNS)
    return Record(
        id=content_id("alpaca", question, context, answer),
        kind="instruction",
        question=question,
        context=context,
        answer=answer,
        category=text_of(value, "category"),
        source="alpaca",
    )


def is_columnar(document: Any) -> bool:
    """Tell whether a document is the form with three lists."""
    return (
        isinstance(document, dict)
        and matches(document)
        and any(isinstance(document.get(name), list) for name in COLUMNS)
    )


def columnar(document: dict[str, Any], source: Source) -> Iterator[Item]:
    """Return the records of three lists of the same length."""
    lists = [document.get(name) for name in COLUMNS]
    lengths = [len(values) if isinstance(values, list) else -1 for values in lists]
    if lists[1] is None:
        lists[1], lengths[1] = [""] * lengths[0], lengths[0]
    if len(set(lengths)) != 1 or lengths[0] < 0:
        raise InputInvalidError(
            expected="three lists of the same length",
            found=f"instruction, input and output of {lengths} in {source.name}",
        )
    return _rows(zip(*(values or [] for values in lists), strict=True), source)


def _rows(rows: Iterator[tuple[Any, ...]], source: Source) -> Iterator[Item]:
    for number, row in enumerate(rows, start=1):
        value = dict(zip(COLUMNS, row, strict=True))
        yield source.item(f"position {number}", partial(parse, value))
