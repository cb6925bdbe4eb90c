"""The embedded engine: llama.cpp in this process, one request at a time, nothing else needed."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from appliance.core.errors import ContextTooLongError
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.engine import (
    Completion,
    Delta,
    Identity,
    IteratorGeneration,
    Message,
    Prompt,
    Sampling,
    TokenScores,
    collect,
)
from appliance.inference.files import ModelFiles
from appliance.inference.logits import log_softmax_rows
from appliance.inference.template import Template
from appliance.inference.textstream import TextStream

if TYPE_CHECKING:
    from appliance.inference.llama import LlamaContext


class EmbeddedEngine:
    """llama.cpp in this process. A lock lets one request in at a time; the rest wait."""

    slots = 1

    def __init__(self, files: ModelFiles, template: Template, settings: InferenceSettings) -> None:
        """Check the files against their registered hashes, then load them."""
        from appliance.inference.llama import LlamaContext

        files.verify()
        self.identity = Identity("embedded", files.base_hash, files.adapter_hash, template.hash)
        self._template = template
        self._lock = threading.Lock()
        self._context: LlamaContext | None = LlamaContext(
            files.base, files.adapter, files.fitting(settings)
        )
        self.context_tokens = self._context.context_tokens

    @property
    def _loaded(self) -> LlamaContext:
        assert self._context is not None, "the engine was closed"
        return self._context

    def tokenize(self, text: str) -> list[int]:
        """Return the tokens of ``text``; special tokens in it are plain text."""
        return self._loaded.tokenize(text)

    def encode(self, prompt: Prompt, *, answered: bool = False) -> list[int]:
        """Return the tokens the model sees for ``prompt``."""
        context = self._loaded
        if isinstance(prompt, str):
            return context.begin() + context.tokenize(prompt)
        return context.begin() + self._template.encode(prompt, context.tokenize, answered=answered)

    def stream(self, prompt: Prompt, sampling: Sampling) -> IteratorGeneration:
        """Start an answer; tokens are drawn as the pieces are read."""
        tokens = self.encode(prompt)
        room = self.context_tokens - len(tokens)
        if room < 1:
            raise ContextTooLongError(
                expected=f"a prompt that leaves room in {self.context_tokens} tokens",
                found=f"a prompt of {len(tokens)} tokens",
            )
        limit = min(sampling.max_tokens, room)
        return IteratorGeneration(len(tokens), self._pieces(tokens, sampling, limit))

    def _pieces(self, tokens: list[int], sampling: Sampling, limit: int) -> Iterator[Delta]:
        context, text = self._loaded, TextStream(sampling.stop + self._template.stop)
        with self._lock:
            context.clear()
            chain = context.sampler(sampling)
            try:
                for _ in context.decode(tokens, len(tokens) - 1):
                    pass
                for drawn in range(limit):
                    token = context.sample(chain)
                    if context.is_end(token):
                        yield Delta(text.finish(), 0, "stop")
                        return
                    out = text.feed(context.piece(token))
                    if text.stopped:
                        yield Delta(out, 1, "stop")
                        return
                    yield Delta(out, 1)
                    if drawn + 1 < limit:
                        for _ in context.decode([token], 0):
                            pass
                tail = text.finish()
                yield Delta(tail, 0, "stop" if text.stopped else "length")
            finally:
                context.free_sampler(chain)
                context.clear()

    def complete(self, prompt: str, sampling: Sampling) -> Completion:
        """Continue a text."""
        return collect(self.stream(prompt, sampling))

    def chat(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """Answer a conversation."""
        return collect(self.stream(messages, sampling))

    def score(
        self, prefix: Sequence[int], continuations: Sequence[Sequence[int]]
    ) -> list[TokenScores]:
        """Return log p(continuation | prefix) of each, token by token, in nats."""
        if not prefix or not all(continuations):
            raise ValueError("score needs a prefix and continuations of one token or more")
        longest = len(prefix) + max(map(len, continuations), default=1) - 1
        if longest > self.context_tokens:
            raise ContextTooLongError(
                expected=f"at most {self.context_tokens} tokens to score",
                found=f"{longest} tokens",
            )
        context = self._loaded
        with self._lock:
            context.clear()
            try:
                (first,) = [rows.copy() for rows in context.decode(prefix, len(prefix) - 1)]
                scores = []
                for continuation in continuations:
                    scores.append(_score(context, first, continuation))
                    context.rewind(len(prefix))
            finally:
                context.clear()
        return scores

    def ready(self) -> bool:
        """Say whether the model is loaded."""
        return self._context is not None

    def close(self) -> None:
        """Free the model once no request runs."""
        with self._lock:
            if self._context is not None:
                self._context.close()
                self._context = None


def _score(
    context: LlamaContext, first: npt.NDArray[np.float32], continuation: Sequence[int]
) -> TokenScores:
    """Score one continuation after the prefix just read; ``first`` are the logits after it."""
    wanted = np.asarray(continuation)
    logprobs, best = log_softmax_rows(first, wanted[:1])
    for rows in context.decode(continuation[:-1], 0):
        done = len(logprobs)
        values, greedy = log_softmax_rows(rows, wanted[done : done + len(rows)])
        logprobs += values
        best += greedy
    return TokenScores(tuple(continuation), tuple(logprobs), tuple(best))
