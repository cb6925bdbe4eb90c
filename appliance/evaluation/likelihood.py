"""Perplexity, token accuracy and bits: how well a model predicts text it did not see.

With N tokens of log-probability l_i (natural logarithm, *nats*):

* cross-entropy H = -(1/N) sum l_i, in nats per token;
* perplexity = exp(H) (Jelinek et al., 1977), equal to 2 to the bits per token;
* bits per token = H / ln 2: a cross-entropy in nats is not a number of bits;
* bits per character = total bits / characters, per byte = total bits / UTF-8 bytes. These two do
  not depend on the tokenizer, so models with different vocabularies can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LN2 = math.log(2.0)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Sums over a text: tokens, how many were the model's first choice, nats, characters, bytes."""

    tokens: int = 0
    hits: int = 0
    nats: float = 0.0
    characters: int = 0
    bytes: int = 0

    @classmethod
    def of(cls, logprobs: Sequence[float], best: Sequence[bool], text: str) -> Likelihood:
        """Return the sums of one text and its token log-probabilities (nats, <= 0)."""
        return cls(len(logprobs), sum(best), -sum(logprobs), len(text), len(text.encode()))

    def __add__(self, other: Likelihood) -> Likelihood:
        """Return the sums of both texts."""
        return Likelihood(
            self.tokens + other.tokens,
            self.hits + other.hits,
            self.nats + other.nats,
            self.characters + other.characters,
            self.bytes + other.bytes,
        )

    @property
    def cross_entropy(self) -> float:
        """Nats per token."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """The exponential of the cross-entropy (no unit)."""
        return math.exp(self.cross_entropy)

    @property
    def token_accuracy(self) -> float:
        """The share of tokens that were the most likely one (0 to 1)."""
        return self.hits / self.tokens

    @property
    def bits_per_token(self) -> float:
        """Bits per token: log2 of the perplexity."""
        return self.cross_entropy / LN2

    @property
    def bits_per_character(self) -> float:
        """Bits per Unicode character of the text."""
        return self.nats / LN2 / self.characters

    @property
    def bits_per_byte(self) -> float:
        """Bits per byte of the text in UTF-8."""
        return self.nats / LN2 / self.bytes

    def metrics(self) -> dict[str, float]:
        """Return the measures by name."""
        return {
            "cross_entropy_nats": self.cross_entropy,
            "perplexity": self.perplexity,
            "token_accuracy": self.token_accuracy,
            "bits_per_token": self.bits_per_token,
            "bits_per_character": self.bits_per_character,
            "bits_per_byte": self.bits_per_byte,
        }
