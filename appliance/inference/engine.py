"""One protocol, three engines: what the gateway and the evaluation ask of a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

Role = Literal["system", "user", "assistant"]
Finish = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn. ``temperature`` 0 is greedy; ``seed`` None draws a fresh one."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of an answer. ``tokens`` were drawn for it; the last piece names ``finish``."""

    text: str
    tokens: int = 0
    finish: Finish | None = None


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer."""

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class TokenScores:
    """Log-probabilities (natural logarithm) of given tokens, one for each.

    ``best[i]`` says that token ``i`` was the most likely one at its place.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    best: tuple[bool, ...]

    @property
    def total(self) -> float:
        """The log-probability of the whole sequence, in nats."""
        return sum(self.logprobs)


@dataclass(frozen=True, slots=True)
class Identity:
    """What answers: content hashes of the base, the adapter and the prompt template."""

    kind: str
    model_hash: str
    adapter_hash: str | None = None
    template_hash: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form for the audit log; an absent adapter is an empty text."""
        return {
            "engine": self.kind,
            "model": self.model_hash,
            "adapter": self.adapter_hash or "",
            "template": self.template_hash,
        }


Prompt = str | Sequence[Message]


class Generation(Protocol):
    """A running answer: iterate for its pieces, ``close`` to stop drawing tokens.

    ``prompt_tokens`` is final once the last piece was read (an upstream says it only then).
    """

    prompt_tokens: int

    def __iter__(self) -> Iterator[Delta]:
        """Yield the pieces; the last one names how it ended."""
        ...

    def close(self) -> None:
        """Stop; the engine draws no more tokens for it."""
        ...


class Engine(Protocol):
    """Something that continues text.

    ``prompt`` is a plain text, or messages, which the engine writes with the pinned template.
    Raises ``ContextTooLongError`` when the prompt leaves no room, ``EngineUnavailableError``
    when the engine does not answer. Calls may come from several threads.
    """

    @property
    def identity(self) -> Identity:
        """The hashes of what is loaded."""
        ...

    @property
    def slots(self) -> int:
        """How many requests run at once; more than these wait."""
        ...

    def stream(self, prompt: Prompt, sampling: Sampling) -> Generation:
        """Start an answer; pieces come as they are drawn."""
        ...

    def complete(self, prompt: str, sampling: Sampling) -> Completion:
        """Continue a text."""
        ...

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer a conversation."""
        ...

    def ready(self) -> bool:
        """Say whether a request would be answered now."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...


class ScoringEngine(Engine, Protocol):
    """An engine that shows its token probabilities (the embedded one: evaluation needs them)."""

    @property
    def context_tokens(self) -> int:
        """How many tokens fit."""
        ...

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of ``text``; special tokens in it are plain text."""
        ...

    def encode(self, prompt: Prompt, *, answered: bool = False) -> list[int]:
        """Return the tokens the model sees for ``prompt``, with the begin-of-text token.

        ``answered``: the last message is an answer with its end; else the opening of one is added.
        """
        ...

    def score(
        self, prefix: Sequence[int], continuations: Sequence[Sequence[int]]
    ) -> list[TokenScores]:
        """Return log p(continuation | prefix) of each, token by token.

        The prefix is read once; it and each continuation hold one token or more. Raises
        ``ContextTooLongError`` when one does not fit.
        """
        ...


def collect(generation: Generation) -> Completion:
    """Run a generation to its end and return the whole answer."""
    parts: list[str] = []
    tokens = 0
    finish: Finish = "length"
    for delta in generation:
        parts.append(delta.text)
        tokens += delta.tokens
        finish = delta.finish or finish
    return Completion("".join(parts), finish, generation.prompt_tokens, tokens)


@dataclass
class IteratorGeneration:
    """A generation over a Python generator; closing it ends the generator."""

    prompt_tokens: int
    pieces: Iterator[Delta]
    closed: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[Delta]:
        """Yield the pieces."""
        for piece in self.pieces:
            yield piece
            if self.closed:
                self.close()
                return

    def close(self) -> None:
        """Stop after the piece being drawn, freeing what the generator holds."""
        self.closed = True
        stop = getattr(self.pieces, "close", None)
        if stop is not None:
            try:
                stop()
            except ValueError:  # another thread is inside: it stops at the next piece
                return
