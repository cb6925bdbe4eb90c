"""What a rule is, and the pieces that the patterns are made of.

Every pattern must be linear: no unbounded repeat stands inside another, so a text can slow the
search down only in proportion to its length (the library's time-out would skip the pattern and
let an identifier through).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

VALUE: Final = "v"  # the group that holds the identifier; without it the whole match does

# Not inside a word; an underscore is not a word here (``paciente_cpf``).
LEFT: Final = r"(?<![^\W_])"
RIGHT: Final = r"(?![^\W_])"
NO_DIGIT_BEFORE: Final = r"(?<![\d])(?<!\d[.,/\-])"
NO_DIGIT_AFTER: Final = r"(?!\d)(?![.,/\-]\d)"
SEP: Final = r"[ .\-/\u00a0\u2010-\u2015\u2212]"
DASH: Final = r"[\-\u2010-\u2015\u2212]"
# Between a label and its value: "CPF n. 1", "CPF: 1", "CPF | 1", '"cpf": "1"'.
_MARKS: Final = r"[\s:=#.|\"'>(\-\u2013]{0,5}"
GAP: Final = rf"{_MARKS}(?:n[\u00ba\u00b0o.]{{1,2}}|n[\u00fau]mero|num\.?|no\.)?{_MARKS}"
OWNER: Final = (
    r"(?:\s{1,2}(?:do|da|de)\s{1,2}"
    r"(?:paciente|m\u00e3e|mae|pai|respons[\u00e1a]vel|titular|acompanhante|usu[\u00e1a]rio))?"
)


def run(least: int, most: int) -> str:
    """Return a pattern of ``least`` to ``most`` digits with separators between them."""
    return rf"\d(?:{SEP}{{0,2}}\d){{{least - 1},{most - 1}}}(?!\d)"


@dataclass(frozen=True)
class Rule:
    """A pattern of an entity.

    ``score`` holds when there is no ``check``; otherwise ``score`` is for a number with the
    right check digits and ``unchecked`` for one with wrong ones. ``exact`` keeps upper and lower
    case apart.
    """

    name: str
    pattern: str
    score: float
    check: Callable[[str], bool] | None = None
    unchecked: float = 0.0
    exact: bool = False


@dataclass(frozen=True)
class Entity:
    """A kind of identifier: how it is found and what stands in its place.

    ``words`` (whole runs of letters, folded), ``parts`` (folded) and ``shapes`` (patterns) are
    necessary: a text with none of them cannot hold this entity, so its rules need not
    run. ``priority`` decides between equal scores.
    """

    name: str
    tag: str
    rules: tuple[Rule, ...]
    words: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    priority: int = 0
