"""Tables: CSV, TSV and Markdown, of contrastive pairs, multiple choice or questions."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from appliance.core.errors import InputHeaderError, InputInvalidError
from appliance.datasets.readers import alpaca, choice, contrastive
from appliance.datasets.readers.base import Item, Parser, Source, read_text
from appliance.datasets.record import fold

# A column's name, folded -> the key that the parsers know.
ALIASES: Final = {
    "forbidden answer": "forbidden",
    "resposta proibida": "forbidden",
    "resposta ruim": "forbidden",
    "proibida": "forbidden",
    "rejected": "forbidden",
    "safe answer": "safe",
    "resposta segura": "safe",
    "resposta boa": "safe",
    "segura": "safe",
    "chosen": "safe",
    "pergunta": "question",
    "prompt": "question",
    "categoria": "category",
    "resposta": "answer",
    "gabarito": "answer",
    "contexto": "context",
    "idioma": "language",
}
_OPTION = re.compile(r"(?:option|opcao|alternativa)? ?([a-z])")
_SEPARATOR = re.compile(r":?-{2,}:?")
_PIPE = re.compile(r"(?<!\\)\|")
Row = tuple[int, list[str]]


def read(source: Source, fmt: str | None) -> tuple[str, Iterator[Item]]:
    """Return the format that a table's header tells, and its records."""
    text = read_text(source)
    rows = _markdown(text) if source.path.suffix.lower() == ".md" else _csv(text, source)
    header = next(rows, (1, []))[1]
    names = [_name(cell) for cell in header]
    found, parser = _parser(set(names))
    if parser is None or (fmt is not None and fmt != found):
        wanted = fmt or "question, forbidden, safe"
        raise InputHeaderError(
            expected=f"columns of {wanted}",
            found=f"{len(header)} columns in {source.name}, not these",
        )
    return found, _items(rows, names, source, parser)


def _name(cell: str) -> str:
    folded = fold(cell)
    if option := _OPTION.fullmatch(folded):
        return f"option {option[1]}"
    return ALIASES.get(folded, folded)


def _parser(names: set[str]) -> tuple[str, Parser | None]:
    if {"question", "forbidden", "safe"} <= names:
        return "contrastive", contrastive.parse
    if {"question", "option a", "option b", "answer"} <= names:
        return "choice", choice.parse
    if {"instruction", "output"} <= names:
        return "alpaca", alpaca.parse
    if "question" in names:
        return "harmless", contrastive.parse_harmless
    return "", None


def _items(rows: Iterator[Row], names: list[str], source: Source, parser: Parser) -> Iterator[Item]:
    for number, cells in rows:
        where = f"line {number}"
        if len(cells) != len(names):
            yield source.refuse(where, f"{len(cells)} cells under {len(names)} columns")
            continue
        value: dict[str, object] = dict(zip(names, cells, strict=True))
        options = [value[n] for n in sorted(names) if n.startswith("option ") and value[n]]
        if options:
            value["options"] = options
        yield source.item(where, partial(parser, value))


def _csv(text: str, source: Source) -> Iterator[Row]:
    head = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    csv.field_size_limit(source.limits.document_bytes)
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputInvalidError(
                expected="a table with balanced quotes",
                found=f"a CSV error near line {start} of {source.name}",
                remedy="Export the table again with quoted fields.",
            ) from error
        if any(cell.strip() for cell in row):
            yield start, row


def _markdown(text: str) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped.startswith("|"):
            continue
        body = stripped[1:].removesuffix("|")
        cells = [cell.strip().replace("\\|", "|") for cell in _PIPE.split(body)]
        if not all(_SEPARATOR.fullmatch(cell) for cell in cells):
            yield number, cells
