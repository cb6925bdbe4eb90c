"""An engine without a model: it says what it was told to, for tests of what is built on it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from appliance.core.errors import ContextTooLongError
from appliance.inference.engine import (
    Completion,
    Delta,
    Finish,
    Identity,
    IteratorGeneration,
    Message,
    Prompt,
    Sampling,
    TokenScores,
    collect,
)

Answer = Callable[[Prompt], str]
Score = Callable[[str, str], float]


LIKELY = -0.6931471805599453  # one half: more than that is the most likely token


def repeat_question(prompt: Prompt) -> str:
    """Answer with the last thing said."""
    return prompt if isinstance(prompt, str) else prompt[-1].text


def even_score(prefix: str, continuation: str) -> float:  # noqa: ARG001 - a Score's signature
    """Give every character the same probability, one half."""
    return LIKELY * len(continuation)


@dataclass
class MemoryEngine:
    """One character is one token. ``answer`` makes the text, ``score`` the log-probability.

    ``gate``, when given, is waited for before each piece, so that a test can hold an answer.
    """

    identity: Identity = field(default_factory=lambda: Identity("memory", "0" * 64))
    answer: Answer = repeat_question
    scorer: Score = even_score
    slots: int = 1
    context_tokens: int = 4096
    gate: threading.Semaphore | None = None
    seen: list[Prompt] = field(default_factory=list)
    drawn: int = 0
    alive: bool = True

    def tokenize(self, text: str) -> list[int]:
        """Return the code points."""
        return [ord(c) for c in text]

    def encode(self, prompt: Prompt, *, answered: bool = False) -> list[int]:
        """Return a begin token (0) and the code points of all that is said."""
        if isinstance(prompt, str):
            return [0, *self.tokenize(prompt)]
        said = "".join(f"{m.role}: {m.text}\n" for m in prompt)
        return [0, *self.tokenize(said if answered else f"{said}assistant: ")]

    def stream(self, prompt: Prompt, sampling: Sampling) -> IteratorGeneration:
        """Answer piece by piece."""
        self.seen.append(prompt)
        tokens = len(self.encode(prompt))
        if tokens >= self.context_tokens:
            raise ContextTooLongError(
                expected=f"less than {self.context_tokens} tokens", found=f"{tokens} tokens"
            )
        return IteratorGeneration(tokens, self._pieces(self.answer(prompt), sampling))

    def _pieces(self, text: str, sampling: Sampling) -> Iterator[Delta]:
        cuts = [at for at in (text.find(s) for s in sampling.stop) if at >= 0]
        whole = text[: min(cuts)] if cuts else text
        finish: Finish = "length" if len(whole) > sampling.max_tokens else "stop"
        for character in whole[: sampling.max_tokens]:
            if self.gate is not None:
                self.gate.acquire()
            self.drawn += 1
            yield Delta(character, 1)
        yield Delta("", 0, finish)

    def complete(self, prompt: str, sampling: Sampling) -> Completion:
        """Answer a text."""
        return collect(self.stream(prompt, sampling))

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer a conversation."""
        return collect(self.stream(messages, sampling))

    def score(
        self, prefix: Sequence[int], continuations: Sequence[Sequence[int]]
    ) -> list[TokenScores]:
        """Spread what ``scorer`` says evenly over the tokens."""
        before = "".join(map(chr, prefix[1:]))
        return [self._score(before, continuation) for continuation in continuations]

    def _score(self, before: str, continuation: Sequence[int]) -> TokenScores:
        each = self.scorer(before, "".join(map(chr, continuation))) / len(continuation)
        count = len(continuation)
        return TokenScores(tuple(continuation), (each,) * count, (each > LIKELY,) * count)

    def ready(self) -> bool:
        """Say what ``alive`` says."""
        return self.alive

    def close(self) -> None:
        """End the engine."""
        self.alive = False
