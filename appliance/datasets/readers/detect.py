"""Tell the format of a file, and read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from typing import Any, Final

from appliance.core.errors import (
    ApplianceError,
    FormatUnknownError,
    InputCutError,
    InputInvalidError,
    InputTooLongError,
)
from appliance.datasets.readers import (
    alpaca,
    chat,
    choice,
    contrastive,
    delimited,
    fhir,
    native,
    notes,
    pubmedqa,
    table,
)
from appliance.datasets.readers.base import (
    Item,
    Parser,
    Source,
    existing,
    iter_json_lines,
    load_json,
    read_text,
)

# format -> the parser of one object of it; the order is the order of detection.
OBJECTS: Final[dict[str, tuple[Callable[[dict[str, Any]], bool], Parser]]] = {
    "record": (native.matches, native.parse),
    "fhir": (fhir.matches, fhir.parse),
    "preference": (chat.matches_preference, chat.parse_preference),
    "chat": (chat.matches, chat.parse),
    "choice": (choice.matches, choice.parse),
    "contrastive": (contrastive.matches, contrastive.parse),
    "alpaca": (alpaca.matches, alpaca.parse),
    "harmless": (contrastive.matches_harmless, contrastive.parse_harmless),
    "note": (notes.matches, notes.parse),
}
FORMATS: Final = ("pubmedqa", "delimited", *OBJECTS)
HEAD_CHARACTERS: Final = 4096


def read(source: Source, fmt: str | None = None) -> tuple[str, Iterator[Item]]:
    """Return the format of ``source`` and its records and refusals, one at a time.

    Raises an ``Input...Error`` for a problem of the whole file, and ``FormatUnknownError``
    when ``fmt`` is not given and cannot be told.
    """
    if fmt is not None and fmt not in FORMATS:
        raise FormatUnknownError(expected=" or ".join(sorted(FORMATS)), found="another name")
    existing(source.path)
    suffix = source.path.suffix.lower()
    if suffix in {".jsonl", ".ndjson"}:
        return _json_lines(source, fmt)
    if suffix == ".json":
        return _json(source, fmt)
    if suffix in {".csv", ".tsv", ".md"}:
        return table.read(source, fmt)
    if fmt == "delimited" or (fmt is None and delimited.looks_so(source)):
        return "delimited", delimited.read(source)
    if suffix in {".txt", ".rtf"} or fmt == "note":
        return "note", notes.read(source)
    raise FormatUnknownError(
        expected="a file ending in .json, .jsonl, .ndjson, .csv, .tsv, .md, .txt or .rtf",
        found=f"{source.name}",
    )


def _json_lines(source: Source, fmt: str | None) -> tuple[str, Iterator[Item]]:
    lines = iter_json_lines(source)
    seen: list[tuple[str, dict[str, Any] | str]] = []
    if fmt is None:
        for where, value in lines:
            seen.append((where, value))
            if not isinstance(value, str):
                fmt = _format_of(value)
                if fmt is not None:
                    break
    if fmt is None:
        raise _nothing_told(source, seen)
    return fmt, _objects(source, fmt, chain(seen, lines))


def _nothing_told(source: Source, seen: list[tuple[str, dict[str, Any] | str]]) -> ApplianceError:
    reasons = [value for _, value in seen if isinstance(value, str)]
    if any("longer" in reason for reason in reasons):
        return InputTooLongError(
            expected=f"lines of at most {source.limits.line_bytes} characters",
            found=f"{len(reasons)} lines of {source.name} that cannot be read",
        )
    if any("cut" in reason for reason in reasons):
        return InputCutError(
            expected="whole lines of JSON", found=f"{source.name} cut in the middle"
        )
    if reasons:
        return InputInvalidError(
            expected="a JSON object on each line",
            found=f"{len(reasons)} other lines in {source.name}",
        )
    return FormatUnknownError(
        expected=f"objects of one of: {', '.join(FORMATS)}",
        found=f"{len(seen)} objects of {source.name} that are none of them",
    )


def _format_of(value: dict[str, Any]) -> str | None:
    return next((name for name, (matches, _) in OBJECTS.items() if matches(value)), None)


def _objects(
    source: Source, fmt: str, values: Iterable[tuple[str, dict[str, Any] | str]]
) -> Iterator[Item]:
    if fmt not in OBJECTS:
        raise FormatUnknownError(expected=f"a file of {fmt}", found="a list of objects")
    parse = OBJECTS[fmt][1]
    for where, value in values:
        if isinstance(value, str):
            yield source.refuse(where, value)
        else:
            yield source.item(where, partial(parse, value))


def _is_json_lines(text: str) -> bool:
    first, _, rest = text.lstrip().partition("\n")
    if not rest.strip():
        return False
    try:
        return isinstance(json.loads(first), dict)
    except (ValueError, RecursionError):
        return False


def _json(source: Source, fmt: str | None) -> tuple[str, Iterator[Item]]:
    text = read_text(source)
    if _is_json_lines(text):
        return _json_lines(source, fmt)
    document = load_json(text, source)
    if fmt in {None, "alpaca"} and alpaca.is_columnar(document):
        return "alpaca", alpaca.columnar(document, source)
    if isinstance(document, dict) and fmt in {None, "pubmedqa"}:
        entries = (value for value in document.values() if isinstance(value, dict))
        if fmt or any(pubmedqa.MARK in entry for entry in entries):
            return "pubmedqa", pubmedqa.items(document, source)
    if isinstance(document, dict):
        document = [document]
    if not isinstance(document, list):
        raise InputInvalidError(
            expected="a JSON object or a list of them", found=f"a {type(document).__name__}"
        )
    if fmt is None:
        known = (_format_of(v) for v in document if isinstance(v, dict))
        fmt = next((name for name in known if name), None)
    if fmt is None:
        raise FormatUnknownError(
            expected=f"objects of one of: {', '.join(FORMATS)}",
            found=f"{len(document)} entries of {source.name} that are none of them",
        )
    numbered = (
        (f"entry {n}", v if isinstance(v, dict) else "the entry is not a JSON object")
        for n, v in enumerate(document, start=1)
    )
    return fmt, _objects(source, fmt, numbered)
