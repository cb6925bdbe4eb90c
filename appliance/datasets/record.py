"""The one record model: what every format is read into."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, get_args

Kind = Literal["qa", "instruction", "chat", "preference", "choice", "note", "harmless"]
Split = Literal["", "train", "validation", "test"]

KINDS: Final = frozenset(get_args(Kind))
SPLITS: Final = frozenset(get_args(Split))

_NOT_WORD = re.compile(r"[\W_]+")

# What a record of each kind must hold to be of any use.
REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "qa": ("question", "answer"),
    "instruction": ("question", "answer"),
    "chat": ("question", "answer"),
    "preference": ("question", "forbidden", "safe"),
    "choice": ("question", "options", "label"),
    "note": ("context",),
    "harmless": ("question",),
}


class RecordInvalidError(ValueError):
    """A record lacks something; the message names fields, never their text."""


@dataclass(frozen=True, slots=True)
class Record:
    """One question, pair, conversation or note.

    ``question``, ``context`` and ``answer`` are the prompt's two parts and the wanted text (a
    note has only ``context``). ``label`` is a class (``yes``) or the right option's letter.
    ``forbidden`` and ``safe`` are the two answers of a contrastive pair. ``turns`` are the
    messages of a conversation before ``question``, as (role, text). Records of one ``group``
    (a patient, the same question) never stand in two splits.
    """

    id: str
    kind: Kind
    question: str = ""
    context: str = ""
    answer: str = ""
    label: str = ""
    forbidden: str = ""
    safe: str = ""
    options: tuple[str, ...] = ()
    turns: tuple[tuple[str, str], ...] = ()
    category: str = ""
    language: str = "pt-BR"
    source: str = ""
    group: str = ""
    split: Split = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; fields that are empty are left out."""
        found = ((name, getattr(self, name)) for name in _ORDER)
        return {name: value for name, value in found if value not in ("", ())}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Record:
        """Return the record of a JSON form (raises :class:`RecordInvalidError`)."""
        if unknown := set(value) - _FIELDS:
            raise RecordInvalidError(f"{len(unknown)} unknown fields")
        given = dict(value)
        given["options"] = tuple(_texts(given.get("options", ()), "options"))
        given["turns"] = tuple(_turns(given.get("turns", ())))
        for name in _FIELDS - {"options", "turns"}:
            if not isinstance(given.get(name, ""), str):
                raise RecordInvalidError(f"field {name} is not text")
        if "id" not in given or given.get("kind") not in KINDS:
            raise RecordInvalidError("no id, or a kind that is not known")
        if given.get("split", "") not in SPLITS:
            raise RecordInvalidError("field split is not train, validation or test")
        return cls(**given)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Yield (field, text) of all free text, in a fixed order."""
        for name in TEXT_FIELDS:
            if text := getattr(self, name):
                yield name, text
        for position, option in enumerate(self.options):
            yield f"options.{position}", option
        for position, (_, text) in enumerate(self.turns):
            yield f"turns.{position}", text

    def with_texts(self, texts: dict[str, str]) -> Record:
        """Return a copy in which the fields named as :meth:`texts` does are replaced."""
        plain: dict[str, Any] = {k: v for k, v in texts.items() if "." not in k}
        options = tuple(texts.get(f"options.{i}", o) for i, o in enumerate(self.options))
        turns = tuple(
            (role, texts.get(f"turns.{i}", text)) for i, (role, text) in enumerate(self.turns)
        )
        return replace(self, **plain, options=options, turns=turns)


TEXT_FIELDS: Final = ("question", "context", "answer", "forbidden", "safe")
_ORDER: Final = tuple(f.name for f in fields(Record))
_FIELDS: Final = frozenset(_ORDER)


def checked(record: Record, *, field_characters: int) -> Record:
    """Return ``record`` in normal form (Unicode NFC, a group), or say what it lacks.

    Raises :class:`RecordInvalidError` when a required field is empty, a field is longer than
    ``field_characters``, or a text is not valid Unicode.
    """
    for name in REQUIRED[record.kind]:
        value = getattr(record, name)
        if not value or (isinstance(value, str) and not value.strip()):
            raise RecordInvalidError(f"no {name}")
    if record.kind == "choice":
        _check_choice(record)
    changed: dict[str, str] = {}
    for name, text in record.texts():
        if len(text) > field_characters:
            raise RecordInvalidError(f"{name} is longer than {field_characters} characters")
        changed[name] = normal(text, name)
    normal(record.id + record.label + record.category + record.group, "id, label or category")
    record = record.with_texts(changed)
    return record if record.group else replace(record, group=question_group(record))


def _check_choice(record: Record) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(record.options)]
    if len(record.options) < 2 or len(record.label) != 1 or record.label not in letters:  # noqa: PLR2004 - a choice is between two
        raise RecordInvalidError("the answer is not the letter of one of two or more options")


def normal(text: str, name: str) -> str:
    """Return ``text`` in NFC (raises :class:`RecordInvalidError` on a lone surrogate)."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        raise RecordInvalidError(f"{name} is not valid Unicode") from None
    return unicodedata.normalize("NFC", text)


def question_group(record: Record) -> str:
    """Return the group of a record that names none: its question's words, hashed.

    The same question with other punctuation, case or accents is the same group.
    """
    words = fold(record.question or record.context)
    return "q:" + hashlib.sha256(words.encode()).hexdigest()[:16]


def fold(text: str) -> str:
    """Return ``text`` in lower case, without accents and punctuation, for comparing."""
    bare = unicodedata.normalize("NFKD", text.casefold())
    return _NOT_WORD.sub(" ", "".join(c for c in bare if not unicodedata.combining(c))).strip()


def content_id(prefix: str, *parts: str) -> str:
    """Return an id made from a record's own content: the same content has the same id."""
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{prefix}:{digest[:16]}"


def _texts(value: Any, name: str) -> list[str]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise RecordInvalidError(f"{name} is not a list of texts")
    return list(value)


def _turns(value: Any) -> list[tuple[str, str]]:
    if not isinstance(value, list | tuple):
        raise RecordInvalidError("turns is not a list")
    turns = []
    for turn in value:
        pair = _texts(turn, "a turn")
        if len(pair) != 2:  # noqa: PLR2004 - (role, text)
            raise RecordInvalidError("a turn is not a role and a text")
        turns.append((pair[0], pair[1]))
    return turns
