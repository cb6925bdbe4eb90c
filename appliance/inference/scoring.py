"""Scoring whole answers in a dialogue: the tokens are cut where training cuts them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import get_args

from appliance.inference.engine import Message, Role, Sampling, ScoringEngine, TokenScores

ROLES = get_args(Role)


class DialogueScorer:
    """Gives evaluation what it asks for, over any engine that shows token probabilities."""

    def __init__(self, engine: ScoringEngine) -> None:
        """Score with ``engine``; the caller closes it."""
        self._engine = engine
        self.cut_prompts = 0

    def subject(self) -> dict[str, str]:
        """Return the hashes of what is loaded."""
        return self._engine.identity.to_dict()

    def score_answers(
        self, dialogue: Sequence[Mapping[str, str]], answers: Sequence[str]
    ) -> list[TokenScores | None]:
        """Score each answer, with its end token, after the dialogue.

        None stands for an answer longer than half the context; a prompt too long loses its
        beginning (counted in ``cut_prompts``).
        """
        messages = _messages(dialogue)
        parts = [split_answer(self._engine, messages, answer) for answer in answers]
        shared = min(len(prefix) for prefix, _ in parts)
        prefix, longest = parts[0][0][:shared], self._engine.context_tokens
        # What one answer's prefix has beyond the shared part is scored and then left out.
        tails = [[*before[shared:], *answer] for before, answer in parts]
        fits = [len(tail) <= longest // 2 for tail in tails]
        room = (
            longest
            + 1
            - max((len(t) for t, fit in zip(tails, fits, strict=True) if fit), default=1)
        )
        if len(prefix) > room:
            self.cut_prompts += 1
            prefix = prefix[-room:]
        wanted = [tail for tail, fit in zip(tails, fits, strict=True) if fit]
        scored = iter(self._engine.score(prefix, wanted) if wanted else [])
        return [
            _last(next(scored), len(answer)) if fit else None
            for fit, (_, answer) in zip(fits, parts, strict=True)
        ]

    def write(self, dialogue: Sequence[Mapping[str, str]], max_tokens: int) -> str | None:
        """Write an answer, greedily; None when the prompt leaves no room for it."""
        messages = _messages(dialogue)
        if len(self._engine.encode(messages)) + max_tokens > self._engine.context_tokens:
            return None
        return self._engine.chat(messages, Sampling(max_tokens=max_tokens)).text


def _last(scores: TokenScores, count: int) -> TokenScores:
    return TokenScores(scores.tokens[-count:], scores.logprobs[-count:], scores.best[-count:])


def split_answer(
    engine: ScoringEngine, messages: list[Message], answer: str
) -> tuple[list[int], list[int]]:
    """Return the tokens before the answer and those of the answer with its end.

    Both texts are encoded whole and cut at the first token that differs: encoding the answer
    alone would give other tokens at the seam than training saw.
    """
    prompt = engine.encode(messages)
    whole = engine.encode([*messages, Message("assistant", answer)], answered=True)
    same = 0
    for left, right in zip(prompt, whole, strict=False):
        if left != right:
            break
        same += 1
    same = min(same, len(whole) - 1)
    return whole[:same], whole[same:]


def _messages(dialogue: Sequence[Mapping[str, str]]) -> list[Message]:
    messages = []
    for turn in dialogue:
        role = next((r for r in ROLES if r == turn["role"]), None)
        if role is None:
            raise ValueError("a turn is of the system, the user or the assistant")
        messages.append(Message(role, turn["content"]))
    return messages
