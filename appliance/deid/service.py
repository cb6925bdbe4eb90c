"""De-identify texts: find, replace, count. What datasets and the command line call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from appliance.core.canonical import value_hash
from appliance.core.home import Home
from appliance.core.settings.deid import DeidSettings
from appliance.deid.detector import Detector
from appliance.deid.keys import project_key
from appliance.deid.pseudonyms import Pseudonymizer
from appliance.deid.recognizers import ENTITIES
from appliance.deid.spans import Span


@dataclass(frozen=True)
class Cleaned:
    """A text without its identifiers, and how many of each kind there were."""

    text: str
    counts: Counter[str]


class Deidentifier:
    """Replaces the identifiers of texts under one policy and one key."""

    def __init__(self, settings: DeidSettings, key: bytes) -> None:
        """Compile the rules; ``key`` is the project's (see :func:`deidentifier`)."""
        self._settings = settings
        self.detector = Detector(settings.threshold, name_model=settings.name_model or None)
        self.pseudonyms = Pseudonymizer(key, settings)

    def policy(self) -> dict[str, Any]:
        """Return what decides the result: rules, threshold, operators and the key's name."""
        return {
            "rules": rules_hash(),
            "threshold": f"{self._settings.threshold:g}",
            "style": self._settings.style,
            "dates": self._settings.dates,
            "shift_days": self._settings.shift_days,
            "pseudonym_bytes": self._settings.pseudonym_bytes,
            "key": self.pseudonyms.key_id,
            "name_model": self.detector.model_name,
        }

    def clean(self, text: str, patient: str = "", known: Iterable[str] = ()) -> Cleaned:
        """Return ``text`` with each identifier replaced."""
        spans = self.detector.find(text, known)
        if not spans:
            return Cleaned(text, Counter())
        replaced = replace_spans(
            text, spans, lambda s, value: self.pseudonyms.replace(s.entity, value, patient)
        )
        return Cleaned(replaced, Counter(span.entity for span in spans))


def deidentifier(home: Home, settings: DeidSettings) -> Deidentifier:
    """Return the de-identifier of ``home``, with its project's key (made at first use)."""
    return Deidentifier(settings, project_key(home, settings.project))


def replace_spans(text: str, spans: Iterable[Span], put: Callable[[Span, str], str]) -> str:
    """Return ``text`` with ``put(span, value)`` in the place of each span (no overlaps)."""
    out = []
    done = 0
    for span in spans:
        out += [text[done : span.start], put(span, text[span.start : span.end])]
        done = span.end
    return "".join([*out, text[done:]])


def rules_hash() -> str:
    """Return the hash of all rules: another pattern is another policy."""
    return value_hash(
        {
            entity.name: [
                [rule.name, rule.pattern, f"{rule.score:g}", f"{rule.unchecked:g}"]
                for rule in entity.rules
            ]
            for entity in ENTITIES
        }
    )
