"""The delimited form: ``[|Contexto|] ... [|eContexto|] [|Pergunta|] ... [|eResposta|]``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from appliance.core.errors import InputInvalidError
from appliance.datasets.readers.base import Item, Source, open_text, read_text
from appliance.datasets.record import Record, RecordInvalidError, content_id

FIELDS: Final = ("Contexto", "Pergunta", "Resposta")
_TAG = re.compile(r"\[\|(e?)(Contexto|Pergunta|Resposta)\|\]")
HEAD_CHARACTERS: Final = 4096


def looks_so(source: Source) -> bool:
    """Tell whether a file begins with one of the tags."""
    with open_text(source) as stream:
        try:
            head = stream.read(HEAD_CHARACTERS)
        except UnicodeError:
            return False
    return head.lstrip().startswith(tuple(f"[|{name}|]" for name in FIELDS))


def read(source: Source) -> Iterator[Item]:
    """Return the records of a file: one ends where a field that it has opens again."""
    text = read_text(source)
    if not _TAG.search(text):
        raise InputInvalidError(expected="tags like [|Pergunta|]", found=f"none in {source.name}")
    return _items(text, source)


def _items(text: str, source: Source) -> Iterator[Item]:
    found: dict[str, str] = {}
    problem = ""
    opened: tuple[str, int] | None = None
    first_line = 1
    for tag in _TAG.finditer(text):
        closing, name = tag[1] == "e", tag[2]
        if not closing:
            if opened is not None:
                problem = problem or f"{opened[0]} is not closed"
            if name in found or (opened is not None and name == "Contexto"):
                yield source.item(f"line {first_line}", partial(_record, found, problem))
                found, problem = {}, ""
            if not found:
                first_line = text.count("\n", 0, tag.start()) + 1
            opened = (name, tag.end())
        elif opened is not None and opened[0] == name:
            found[name] = text[opened[1] : tag.start()].strip()
            opened = None
        else:
            problem, opened = problem or f"{name} is closed but was not opened", None
    if opened is not None:
        problem = problem or f"{opened[0]} is not closed"
    if found or problem:
        yield source.item(f"line {first_line}", partial(_record, found, problem))


def _record(found: dict[str, str], problem: str) -> Record:
    if problem:
        raise RecordInvalidError(problem)
    context, question, answer = (found.get(name, "") for name in FIELDS)
    return Record(
        id=content_id("delimited", question, context, answer),
        kind="instruction",
        question=question,
        context=context,
        answer=answer,
        source="delimited",
    )
