"""What evaluation asks of a model: token probabilities and written answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

Dialogue = Sequence[Mapping[str, str]]  # [{"role": ..., "content": ...}, ...]


class Scores(Protocol):
    """Log-probabilities (nats) of given tokens, and which were the model's first choice."""

    @property
    def logprobs(self) -> tuple[float, ...]:
        """One for each token, 0 or below."""
        ...

    @property
    def best(self) -> tuple[bool, ...]:
        """One for each token."""
        ...


class Scorer(Protocol):
    """A model that shows its probabilities. A twin is made over any scoring engine."""

    @property
    def cut_prompts(self) -> int:
        """How many prompts lost their beginning because they were too long."""
        ...

    def subject(self) -> dict[str, str]:
        """Return ``engine`` and the hashes ``model``, ``adapter`` ("" for none), ``template``."""
        ...

    def score_answers(self, dialogue: Dialogue, answers: Sequence[str]) -> Sequence[Scores | None]:
        """Score each answer with its end token after ``dialogue``.

        None stands for an answer that does not fit the context; a prompt that is too long loses
        its beginning.
        """
        ...

    def write(self, dialogue: Dialogue, max_tokens: int) -> str | None:
        """Write an answer, greedily; None when the prompt leaves no room for it."""
        ...
