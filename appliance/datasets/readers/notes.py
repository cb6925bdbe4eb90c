"""Clinical notes: plain text or RTF, one file a note, or objects with ``text``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from appliance.datasets.readers.base import Item, Source, read_text, text_of
from appliance.datasets.record import Record, RecordInvalidError, content_id

TEXT: Final = ("text", "texto", "note", "nota", "evolucao")
SUFFIXES: Final = frozenset({".txt", ".rtf"})
RTF_MARK: Final = "{\\rtf"


def matches(value: dict[str, Any]) -> bool:
    """Tell whether an object is a note."""
    return any(name in value for name in TEXT)


def parse(value: dict[str, Any]) -> Record:
    """Return the record of an object with the note's text."""
    text = text_of(value, *TEXT)
    own = text_of(value, "id")
    return Record(
        id=f"note:{own}" if own else content_id("note", text),
        kind="note",
        context=text,
        category=text_of(value, "category", "categoria"),
        source="note",
        group=text_of(value, "group", "patient", "paciente"),
    )


def read(source: Source) -> Iterator[Item]:
    """Yield the note of one file. Its name may name a patient, so it is not kept."""
    text = read_text(source)
    yield source.item("the file", partial(_note, text))


def _note(text: str) -> Record:
    if text.startswith(RTF_MARK):
        text = plain(text)
    return Record(id=content_id("note", text), kind="note", context=text.strip(), source="note")


def plain(rtf: str) -> str:
    """Return the text of an RTF document."""
    from striprtf.striprtf import rtf_to_text

    try:
        return str(rtf_to_text(rtf, errors="strict"))  # type: ignore[no-untyped-call]  # the library has no types
    except Exception as error:
        raise RecordInvalidError(f"the RTF cannot be read ({type(error).__name__})") from error
