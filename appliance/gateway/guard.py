"""The guard: rules over questions and answers. A notice a person must see does not depend on
what the model says.

Rules are regular expressions over folded text, so what they catch can be read and tested; they
are a net under the model, not a judgement about a patient.
"""  # noqa: D205 - one sentence

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from appliance.core.canonical import sha256_hex
from appliance.datasets.record import fold

RULES_FILE: Final = "rules.pt-BR.yaml"
LONGEST_HELD: Final = 400  # characters: a sentence without an end is checked and sent anyway
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”)\]]*(?=\s)|\n+")


class Rule(BaseModel):
    """One rule: where it looks, what it looks for, what follows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z-]{3,40}$")
    where: Literal["question", "answer"]
    action: Literal["notice", "withhold"]
    notice: str = Field(min_length=1, max_length=300)
    any: tuple[re.Pattern[str], ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _questions_are_never_withheld(self) -> Rule:
        if self.where == "question" and self.action == "withhold":
            raise ValueError("a question rule can only give a notice")
        return self

    def fires(self, folded: str) -> bool:
        """Say whether the rule matches folded text."""
        return any(pattern.search(folded) for pattern in self.any)


@dataclass(frozen=True)
class Rules:
    """All rules, with the hash of the file they stand in."""

    rules: tuple[Rule, ...]
    hash: str

    def fired(self, where: Literal["question", "answer"], text: str) -> list[Rule]:
        """Return the rules that match ``text``, in the order of the file."""
        folded = fold(text)
        return [rule for rule in self.rules if rule.where == where and rule.fires(folded)]


@lru_cache(maxsize=1)
def shipped_rules() -> Rules:
    """Return the rules that come with the appliance."""
    data = (resources.files("appliance.gateway") / RULES_FILE).read_bytes()
    return parse_rules(data)


def parse_rules(data: bytes) -> Rules:
    """Return the rules of a YAML file (raises ``pydantic.ValidationError``, ``re.error``)."""
    value: Any = yaml.safe_load(data)
    rules = tuple(Rule.model_validate(rule) for rule in value["rules"])
    if len({rule.id for rule in rules}) != len(rules):
        raise ValueError("two rules have the same id")
    return Rules(rules, sha256_hex(data))


@dataclass
class AnswerGuard:
    """Checks one answer while it is written: text comes out a sentence at a time, once checked.

    ``opening`` goes first: the notices the question asks for. ``hits`` names the rules that
    fired, for the log.
    """

    rules: Rules
    question: str
    hits: list[str] = field(default_factory=list)
    _held: str = ""
    _notices: list[str] = field(default_factory=list)

    def opening(self) -> str:
        """Return the notices that must stand before the answer."""
        fired = self.rules.fired("question", self.question)
        self.hits += [rule.id for rule in fired]
        return "".join(f"{rule.notice}\n\n" for rule in fired)

    def feed(self, text: str) -> str:
        """Take a piece and return what is checked and may be sent."""
        self._held += text
        out = ""
        while match := _SENTENCE_END.search(self._held):
            sentence, self._held = self._held[: match.end()], self._held[match.end() :]
            out += self._checked(sentence)
        if len(self._held) > LONGEST_HELD:
            cut = self._held.rfind(" ", 0, LONGEST_HELD)
            cut = cut if cut > 0 else LONGEST_HELD
            out += self._checked(self._held[:cut])
            self._held = self._held[cut:]
        return out

    def finish(self) -> str:
        """Return the rest, and the notices that follow the answer."""
        rest, self._held = self._checked(self._held), ""
        return rest + "".join(f"\n\n{notice}" for notice in self._notices)

    def _checked(self, sentence: str) -> str:
        for rule in self.rules.fired("answer", sentence):
            if rule.id not in self.hits:
                self.hits.append(rule.id)
            if rule.action == "withhold":
                lead = sentence[: len(sentence) - len(sentence.lstrip())]
                return lead + rule.notice
            if rule.notice not in self._notices:
                self._notices.append(rule.notice)
        return sentence


def check(question: str, answer: str, rules: Rules) -> dict[str, Any]:
    """Return what the guard would do with a question and an answer (either may be empty)."""
    guard = AnswerGuard(rules, question)
    opening = guard.opening() if question else ""
    given = opening + guard.feed(answer) + guard.finish()
    fired = [rule for rule in rules.rules if rule.id in guard.hits]
    return {
        "ok": not fired,
        "rules": rules.hash,
        "findings": [
            {"rule": r.id, "where": r.where, "action": r.action, "notice": r.notice} for r in fired
        ],
        "answer": given,
    }
