"""Keep clinical text and identifiers out of the log (SBIS NGS1.07.06).

The log holds numbers, hashes, codes, short words and pseudonyms. A value that looks like a
sentence from a record, or like a Brazilian identifier, is refused where it is produced and again
in the writer, so that a careless caller cannot put it there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from appliance.core.errors import AuditEntryRefusedError

MAX_KEYS = 48
MAX_TEXT = 256
MAX_WORDS = 24

_KEY = re.compile(r"[a-z][a-z0-9_]{0,47}\Z")
_WORD = re.compile(r"[^\W\d_]{2,}")
_DIGITS = re.compile(r"(?<![0-9A-Za-z])[0-9](?:[ .\-/]?[0-9]){9,14}(?![0-9A-Za-z])")
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]+")
_PHONE = re.compile(r"\(\d{2}\)\s?9?\d{4}-?\d{4}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Scalar = str | int | float | bool | None


def looks_like_cpf(digits: str) -> bool:
    """Tell whether eleven digits carry the two check digits of a CPF."""
    if len(digits) != 11 or len(set(digits)) == 1:  # noqa: PLR2004 - the length of a CPF
        return False
    for length in (9, 10):
        total = sum(int(d) * (length + 1 - i) for i, d in enumerate(digits[:length]))
        if int(digits[length]) != total * 10 % 11 % 10:
            return False
    return True


def looks_like_cns(digits: str) -> bool:
    """Tell whether fifteen digits are a national health card number (weighted sum mod 11)."""
    if len(digits) != 15 or digits[0] not in "12789":  # noqa: PLR2004 - the length of a CNS
        return False
    return sum(int(d) * (15 - i) for i, d in enumerate(digits)) % 11 == 0


def reason_against(text: str) -> str | None:
    """Return why ``text`` may not stand in the log, or ``None``; never repeats the text."""
    if len(text) > MAX_TEXT:
        return f"text of {len(text)} characters (at most {MAX_TEXT})"
    if _CONTROL.search(text):
        return "text with line breaks or control characters"
    if text.count(" ") >= MAX_WORDS and len(_WORD.findall(text)) > MAX_WORDS:
        return f"free text of more than {MAX_WORDS} words"
    return _identifier_in(text)


def _identifier_in(text: str) -> str | None:
    if "@" in text and _EMAIL.search(text):
        return "an e-mail address"
    if "(" in text and _PHONE.search(text):
        return "a telephone number"
    for match in _DIGITS.finditer(text):
        digits = re.sub(r"\D", "", match.group())
        if looks_like_cpf(digits) or looks_like_cns(digits):
            return "a CPF or CNS number"
    return None


def check_text(name: str, text: str | None) -> None:
    """Raise :class:`AuditEntryRefusedError` when ``text`` may not stand in the field ``name``."""
    if text is None or (text.isalpha() and len(text) <= MAX_TEXT):
        return
    found = reason_against(text)
    if found is not None:
        raise AuditEntryRefusedError(
            expected=f"no clinical text or identifier in {name} (SBIS NGS1.07.06)", found=found
        )


def check_detail(detail: Mapping[str, object]) -> None:
    """Raise :class:`AuditEntryRefusedError` unless ``detail`` is flat, bounded and harmless."""
    if len(detail) > MAX_KEYS:
        raise AuditEntryRefusedError(
            expected=f"at most {MAX_KEYS} values in detail", found=f"{len(detail)} values"
        )
    for key, value in detail.items():
        if not _KEY.match(key):
            raise AuditEntryRefusedError(
                expected="detail names of lower-case letters, digits and underscores (48 at most)",
                found=f"a name of {len(key)} characters of another form",
            )
        if isinstance(value, str):
            check_text(f"detail.{key}", value)
        elif value is not None and not isinstance(value, (bool, int, float)):
            raise AuditEntryRefusedError(
                expected="flat detail: numbers, short strings, truth values, null",
                found=f"{type(value).__name__} in detail.{key}",
            )
