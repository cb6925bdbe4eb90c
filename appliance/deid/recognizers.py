"""The rules as Presidio recognizers, in an engine without any language model.

Presidio's own pattern recognizer has no groups (a label would be replaced with its number), a
wrong check digit always clears a match, and a pattern that times out is skipped in silence. Ours
differs in these three points only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from presidio_analyzer import (
    AnalyzerEngine,
    ContextAwareEnhancer,
    Pattern,
    PatternRecognizer,
    RecognizerRegistry,
    RecognizerResult,
)
from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
from spacy.tokens import Doc
from spacy.vocab import Vocab

from appliance.deid import contacts, dates, names, numbers, registries
from appliance.deid.rules import VALUE, Entity, Rule

LANGUAGE: Final = "pt"
ENTITIES: Final[tuple[Entity, ...]] = (
    *numbers.ENTITIES,
    *registries.ENTITIES,
    *contacts.ENTITIES,
    *dates.ENTITIES,
    *names.ENTITIES,
)
PRIORITY: Final = {entity.name: entity.priority for entity in ENTITIES}
TAGS: Final = {entity.name: entity.tag for entity in ENTITIES}


class RuleRecognizer(PatternRecognizer):
    """One entity's rules as a Presidio recognizer."""

    def __init__(self, entity: Entity) -> None:
        super().__init__(
            supported_entity=entity.name,
            name=f"{entity.name}_rules",
            supported_language=LANGUAGE,
            patterns=[Pattern(rule.name, rule.pattern, rule.score) for rule in entity.rules],
        )
        self._entity = entity
        self._rules = [
            (rule, re.compile(rule.pattern, re.NOFLAG if rule.exact else re.IGNORECASE))
            for rule in entity.rules
        ]

    def analyze(
        self,
        text: str,
        entities: list[str],
        nlp_artifacts: Any = None,  # noqa: ARG002 - Presidio's signature
        regex_flags: int | None = None,  # noqa: ARG002 - Presidio's signature
    ) -> list[RecognizerResult]:
        """Return every match of every rule with its score."""
        if self._entity.name not in entities:
            return []
        return list(self._matches(text))

    def _matches(self, text: str) -> Iterator[RecognizerResult]:
        for rule, compiled in self._rules:
            group = VALUE if VALUE in compiled.groupindex else 0
            for match in compiled.finditer(text):
                score = _score(rule, match[group])
                if score > 0:
                    yield RecognizerResult(
                        self._entity.name,
                        match.start(group),
                        match.end(group),
                        score,
                        recognition_metadata={
                            RecognizerResult.RECOGNIZER_NAME_KEY: f"{self._entity.name}_rules",
                            RecognizerResult.RECOGNIZER_IDENTIFIER_KEY: self.id,
                        },
                    )


def _score(rule: Rule, value: str) -> float:
    if rule.check is None or rule.check(value):
        return rule.score
    return rule.unchecked


class BlankNlpEngine(NlpEngine):
    """Presidio asks for a language engine; this one only makes an empty answer."""

    def __init__(self) -> None:
        self._empty = Doc(Vocab())

    def load(self) -> None:
        """Load nothing."""

    def is_loaded(self) -> bool:
        """Be ready at once."""
        return True

    def process_text(self, text: str, language: str) -> NlpArtifacts:  # noqa: ARG002 - Presidio's signature
        """Return artifacts without tokens: the rules read the text itself."""
        return NlpArtifacts([], self._empty, [], [], self, language)

    def process_batch(
        self,
        texts: Iterable[str],
        language: str,
        batch_size: int = 1,  # noqa: ARG002 - Presidio's signature
        n_process: int = 1,  # noqa: ARG002 - Presidio's signature
        **_: Any,
    ) -> Iterator[tuple[str, NlpArtifacts]]:
        """Yield each text with empty artifacts."""
        for text in texts:
            yield text, self.process_text(text, language)

    def is_stopword(self, word: str, language: str) -> bool:  # noqa: ARG002 - Presidio's signature
        """Know no stop words."""
        return False

    def is_punct(self, word: str, language: str) -> bool:  # noqa: ARG002 - Presidio's signature
        """Know no punctuation."""
        return False

    def get_supported_entities(self) -> list[str]:
        """Find no entities."""
        return []

    def get_supported_languages(self) -> list[str]:
        """Serve the one language all rules are registered under."""
        return [LANGUAGE]


class NoEnhancer(ContextAwareEnhancer):
    """Context words stand in the patterns themselves, so scores are left as they are."""

    def __init__(self) -> None:
        super().__init__(
            context_similarity_factor=0,
            min_score_with_context_similarity=0,
            context_prefix_count=0,
            context_suffix_count=0,
        )

    def enhance_using_context(
        self,
        text: str,  # noqa: ARG002 - Presidio's signature
        raw_results: list[RecognizerResult],
        nlp_artifacts: NlpArtifacts,  # noqa: ARG002 - Presidio's signature
        recognizers: list[Any],  # noqa: ARG002 - Presidio's signature
        context: list[str] | None = None,  # noqa: ARG002 - Presidio's signature
    ) -> list[RecognizerResult]:
        """Return the results unchanged."""
        return raw_results


def build_engine(threshold: float) -> AnalyzerEngine:
    """Return a Presidio engine with all rules and results from ``threshold`` up."""
    registry = RecognizerRegistry(supported_languages=[LANGUAGE])
    for entity in ENTITIES:
        registry.add_recognizer(RuleRecognizer(entity))
    return AnalyzerEngine(
        registry=registry,
        nlp_engine=BlankNlpEngine(),
        supported_languages=[LANGUAGE],
        default_score_threshold=threshold,
        context_aware_enhancer=NoEnhancer(),
    )
