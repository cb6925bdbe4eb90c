"""Keyed pseudonyms: the same identifier has the same one within a project, and only there.

HMAC-SHA256 (RFC 2104) with the project's key; a plain hash of a CPF can be undone by trying all
10^9 of them in minutes.
"""

from __future__ import annotations

import hmac
import unicodedata
from datetime import timedelta
from typing import Final

from appliance.core.settings.deid import DeidSettings
from appliance.deid import dates
from appliance.deid.checks import compact
from appliance.deid.recognizers import TAGS
from appliance.deid.surrogates import surrogate

# Digits and letters alone tell these apart: 529.982.247-25 and 52998224725 are the same CPF.
_COMPACT: Final = frozenset(
    {
        "BR_CPF",
        "BR_CNPJ",
        "BR_CNS",
        "BR_PIS",
        "BR_CNH",
        "BR_TITULO",
        "BR_RENAVAM",
        "BR_RG",
        "BR_CEP",
        "BR_PLATE",
        "BR_PROFESSIONAL",
        "RECORD_NUMBER",
        "US_SSN",
        "US_PHONE",
    }
)
LOCAL_PHONE_DIGITS: Final = 8
# Sixteen consonants: a pseudonym holds no digit that a rule could take for another identifier
# (cleaning a text twice changes nothing) and spells no word.
_LETTERS: Final = str.maketrans("0123456789abcdef", "bcdfghjklmnpqrst")


def canonical(entity: str, value: str) -> str:
    """Return the form in which two spellings of the same identifier are equal."""
    if entity == "BR_PHONE":
        return compact(value)[-LOCAL_PHONE_DIGITS:]
    if entity in _COMPACT:
        return compact(value)
    bare = unicodedata.normalize("NFKD", value.casefold())
    return " ".join("".join(c for c in bare if not unicodedata.combining(c)).split())


class Pseudonymizer:
    """Turns identifiers into what stands in their place."""

    def __init__(self, key: bytes, settings: DeidSettings) -> None:
        self._key = key
        self._settings = settings

    @property
    def key_id(self) -> str:
        """A name for the key that does not tell it, so that a policy can say which was used."""
        return self.digest("key", "id").hex()[:16]

    def digest(self, what: str, value: str) -> bytes:
        """Return the keyed digest of ``value``, apart for each kind of thing."""
        message = f"{what}\x00{value}".encode()
        return hmac.digest(self._key, message, "sha256")

    def identifier(self, what: str, value: str) -> str:
        """Return a pseudonym for the id of a record, a group or a patient."""
        return self._letters(self.digest(what, value))

    def replace(self, entity: str, value: str, patient: str) -> str:
        """Return what stands for ``value``; ``patient`` tells by how much dates are moved."""
        if entity == "AGE_OVER_89":
            return "90+"
        if entity == "DATE" and self._settings.dates != "token":
            return self._date(value, patient)
        digest = self.digest(entity, canonical(entity, value))
        if self._settings.style == "surrogate":
            return surrogate(entity, value, digest)
        return f"[{TAGS[entity]}:{self._letters(digest)}]"

    def _letters(self, digest: bytes) -> str:
        return digest[: self._settings.pseudonym_bytes].hex().translate(_LETTERS)

    def _date(self, value: str, patient: str) -> str:
        day = dates.parse(value)
        if day is not None and self._settings.dates == "shift":
            span = self._settings.shift_days
            moved = int.from_bytes(self.digest("shift", patient)[:8]) % (2 * span) - span
            moved = moved if moved < 0 else moved + 1
            return (day + timedelta(days=moved)).strftime("%d/%m/%Y")
        year = dates.year_of(value)
        return f"[DATA:{year}]" if year else "[DATA]"
