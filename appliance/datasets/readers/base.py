"""What every reader shares: bounded reading, refusals without text, field access."""

from __future__ import annotations

import codecs
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.core.durable import os_errors
from appliance.core.errors import (
    InputCutError,
    InputEmptyError,
    InputEncodingError,
    InputInvalidError,
    InputMissingError,
    InputTooLongError,
)
from appliance.core.settings.datasets import DatasetsSettings
from appliance.datasets.record import Record, RecordInvalidError, checked

JSON_TAIL = 12  # characters: a file cut inside an escape or a literal fails this near its end


@dataclass(frozen=True, slots=True)
class Refusal:
    """A record that was not taken: where it stands and why, never what it says."""

    file: str
    where: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return {"file": self.file, "where": self.where, "reason": self.reason}


Item = Record | Refusal
Parser = Callable[[dict[str, Any]], Record]


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read, with the limits and the encoding that hold for it."""

    path: Path
    limits: DatasetsSettings
    encoding: str | None = None

    @property
    def name(self) -> str:
        """The file's name, without its folders."""
        return self.path.name

    def refuse(self, where: str, reason: str) -> Refusal:
        """Return a refusal of the record at ``where``."""
        return Refusal(self.name, where, reason)

    def item(self, where: str, make: Callable[[], Record]) -> Item:
        """Return what ``make`` builds, checked, or the refusal that says why not."""
        try:
            return checked(make(), field_characters=self.limits.field_characters)
        except RecordInvalidError as error:
            return self.refuse(where, str(error))


def existing(path: Path) -> Path:
    """Return ``path``, or raise ``InputMissingError`` or ``InputEmptyError``."""
    with os_errors(path):
        if not path.exists():
            raise InputMissingError(expected="a file or folder", found=f"nothing at {path}")
        if path.is_file() and path.stat().st_size == 0:
            raise InputEmptyError(expected="a file with records", found=f"0 bytes in {path.name}")
    return path


def open_text(source: Source) -> io.TextIOWrapper:
    """Open a source as strict text: its own encoding, a byte order mark's, or UTF-8."""
    existing(source.path)
    with os_errors(source.path), source.path.open("rb") as stream:
        head = stream.read(4)
    encoding = source.encoding or _marked(head)
    try:
        codecs.lookup(encoding)
    except LookupError as error:
        raise InputEncodingError(
            expected="the name of an encoding", found="one that is not known"
        ) from error
    with os_errors(source.path):
        return source.path.open("r", encoding=encoding, errors="strict", newline="\n")


def _marked(head: bytes) -> str:
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return "utf-8-sig"


def read_text(source: Source) -> str:
    """Read a whole document within ``document_bytes``."""
    existing(source.path)
    size = source.path.stat().st_size
    if size > source.limits.document_bytes:
        raise InputTooLongError(
            expected=f"at most {source.limits.document_bytes} bytes (datasets.document_bytes)",
            found=f"{size} bytes in {source.name}",
        )
    with open_text(source) as stream:
        try:
            text = stream.read()
        except UnicodeError as error:
            raise _encoding_error(source, "the document", error) from error
    if not text.strip():
        raise InputEmptyError(expected="a file with records", found=f"only blanks in {source.name}")
    return text


def iter_lines(source: Source) -> Iterator[tuple[int, str | None]]:
    """Yield (number, line) of a source; ``None`` for a line longer than ``line_bytes``.

    Memory stays bounded by ``line_bytes`` characters, also when the file has no line ends.
    """
    limit = source.limits.line_bytes
    with open_text(source) as stream:
        number = 0
        try:
            while line := stream.readline(limit):
                number += 1
                if len(line) < limit or line.endswith("\n"):
                    yield number, line
                    continue
                rest = stream.readline(limit)
                if not rest:
                    yield number, line
                    continue
                while rest and not rest.endswith("\n"):
                    rest = stream.readline(limit)
                yield number, None
        except UnicodeError as error:
            raise _encoding_error(source, f"line {number + 1} or later", error) from error


def _encoding_error(source: Source, where: str, error: UnicodeError) -> InputEncodingError:
    name = getattr(error, "encoding", "that encoding")
    return InputEncodingError(
        expected=f"text in {name}", found=f"bytes that are not, in {where} of {source.name}"
    )


def load_json(text: str, source: Source) -> Any:
    """Parse a JSON document; tell one that was cut from one that is wrong."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if is_cut(error, text):
            raise InputCutError(
                expected="a whole JSON document",
                found=f"{source.name} ends in the middle, after line {text.count(chr(10)) + 1}",
            ) from error
        raise InputInvalidError(
            expected="a JSON document",
            found=f"{error.msg} at line {error.lineno}, column {error.colno} of {source.name}",
        ) from error
    except (RecursionError, ValueError) as error:
        raise InputInvalidError(
            expected="a JSON document",
            found=f"{type(error).__name__} while reading {source.name}",
        ) from error


def is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Tell whether JSON fails because it ends too early."""
    if error.msg.startswith("Unterminated string"):
        return True
    near_the_end = error.pos > 0 and error.pos >= len(text.rstrip()) - JSON_TAIL
    return near_the_end and "Extra data" not in error.msg


def iter_json_lines(source: Source) -> Iterator[tuple[str, dict[str, Any] | str]]:
    """Yield (where, object) of a JSONL file, or (where, reason) for a line that is refused."""
    for number, line in iter_lines(source):
        where = f"line {number}"
        if line is None:
            yield where, f"the line is longer than {source.limits.line_bytes} characters"
            continue
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            yield where, "the JSON is cut" if is_cut(error, line) else "the line is not JSON"
        except (RecursionError, ValueError):
            yield where, "the line is not JSON that can be read"
        else:
            yield where, value if isinstance(value, dict) else "the line is not a JSON object"


def text_of(value: dict[str, Any], *names: str) -> str:
    """Return the text of the first of ``names`` that is there, stripped; empty when none is."""
    for name in names:
        found = value.get(name)
        if found is None:
            continue
        if not isinstance(found, str):
            raise RecordInvalidError(f"{name} is not text")
        return found.strip()
    return ""


def list_of(value: dict[str, Any], name: str) -> list[Any]:
    """Return the list called ``name``; empty when it is not there."""
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise RecordInvalidError(f"{name} is not a list")
    return found
