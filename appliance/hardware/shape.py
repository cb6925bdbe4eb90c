"""The shape of a decoder model: the numbers every formula needs, with bounds on each."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1, le=1_000_000)]


class Shape(BaseModel):
    """Layers, heads and widths of a decoder. Bounds: above any published model, far below absurd.

    ``sliding_window`` tokens are kept by all layers but every ``global_every``-th.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layers: Annotated[int, Field(ge=1, le=1000)]
    hidden: Annotated[int, Field(ge=8, le=131_072)]
    heads: Annotated[int, Field(ge=1, le=1024)]
    kv_heads: Annotated[int, Field(ge=1, le=1024)]
    head_dim: Annotated[int, Field(ge=1, le=2048)]
    ffn: Annotated[int, Field(ge=8, le=1_048_576)]
    vocab: Annotated[int, Field(ge=2, le=4_194_304)]
    context: Annotated[int, Field(ge=1, le=16_777_216)]
    tied: bool = False
    experts: Annotated[int, Field(ge=0, le=4096)] = 0
    experts_used: Annotated[int, Field(ge=0, le=4096)] = 0
    sliding_window: Annotated[int, Field(ge=0, le=16_777_216)] = 0
    global_every: Annotated[int, Field(ge=0, le=1000)] = 0

    @model_validator(mode="after")
    def _fits_together(self) -> Shape:
        if self.heads % self.kv_heads:
            raise ValueError("heads must be a multiple of kv_heads")
        if self.experts_used > self.experts or (self.experts and not self.experts_used):
            raise ValueError("experts_used must be between 1 and experts")
        return self

    @property
    def q_width(self) -> int:
        """Width of all query heads."""
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Width of all key (or value) heads."""
        return self.kv_heads * self.head_dim
