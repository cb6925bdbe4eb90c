"""The recipe of a fine-tuning job: everything that decides the result besides data and base.

A recipe is a YAML file; unknown keys are fatal; its hash is part of the adapter's provenance.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from appliance.core.canonical import value_hash
from appliance.core.durable import os_errors
from appliance.core.errors import InputMissingError, RecipeInvalidError
from appliance.registry.gate import GateThresholds

MAX_RECIPE_BYTES = 100_000  # a recipe is a page of text; more is the wrong file


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ToyBase(_Part):
    """The tiny Llama that `models demo` trains from scratch: honest toy weights, no download."""

    vocab_size: int = Field(4096, ge=300, le=64_000, description="Tokens of the vocabulary.")
    hidden_size: int = Field(192, ge=16, le=4096, description="Width of a layer (numbers).")
    intermediate_size: int = Field(512, ge=16, le=16_384, description="Width of the MLP (numbers).")
    layers: int = Field(4, ge=1, le=64, description="Layers.")
    heads: int = Field(4, ge=1, le=64, description="Attention heads of a layer.")
    context_tokens: int = Field(1024, ge=64, le=131_072, description="Longest input (tokens).")
    block_tokens: int = Field(256, ge=16, le=8192, description="Tokens of one training row.")
    batch: int = Field(16, ge=1, le=1024, description="Rows of one step.")
    steps: int = Field(400, ge=1, le=1_000_000, description="Optimiser steps.")
    learning_rate: float = Field(2e-3, gt=0, le=0.1, description="Peak rate (per step).")
    warmup_steps: int = Field(20, ge=0, le=100_000, description="Steps of rising rate.")
    chat_repeats: int = Field(
        1,
        ge=0,
        le=100,
        description="Times a question without context is put into the corpus, as a conversation, "
        "so that the toy knows that form, and the language of the small set, before tuning.",
    )
    checkpoint_steps: int = Field(50, ge=1, le=100_000, description="Steps between checkpoints.")

    @model_validator(mode="after")
    def _shapes_fit(self) -> Self:
        if self.hidden_size % (2 * self.heads):
            raise ValueError("hidden_size must be a multiple of twice heads (rotary embedding)")
        if self.block_tokens > self.context_tokens:
            raise ValueError("block_tokens must not exceed context_tokens")
        return self


class Lora(_Part):
    """The adapter: a low-rank change beside weights that never change."""

    rank: int = Field(16, ge=1, le=256, description="Rank of the change (16: common practice).")
    alpha: int = Field(32, ge=1, le=512, description="Scale, usually 1 to 2 times the rank.")
    dropout: float = Field(
        0.0, ge=0, le=0.5, description="Share dropped (0 keeps unsloth's fast path)."
    )
    target_modules: tuple[str, ...] = Field(
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
        min_length=1,
        description="Linear layers that get a change; all seven is the QLoRA paper's advice.",
    )
    four_bit_base: bool = Field(
        default=False, description="QLoRA: hold the base in 4 bits while training (CUDA only)."
    )


class Sft(_Part):
    """Supervised stage: the loss is taken on the answers only."""

    learning_rate: float = Field(2e-4, gt=0, le=0.1, description="Peak rate (per step).")
    batch: int = Field(2, ge=1, le=512, description="Samples of one pass.")
    accumulation: int = Field(4, ge=1, le=512, description="Passes of one step.")
    epochs: int = Field(3, ge=1, le=100, description="Passes over the samples.")
    max_length: int = Field(512, ge=16, le=131_072, description="Longest sample (tokens).")
    too_long: Literal["refuse", "leave_out"] = Field(
        "refuse", description="What becomes of a longer one; it is never cut, and counted."
    )
    max_samples: int | None = Field(
        None, ge=1, description="Samples taken at most, the same ones each time; unset: all."
    )
    warmup_ratio: float = Field(0.05, ge=0, le=0.5, description="Share of steps of rising rate.")
    checkpoint_steps: int = Field(25, ge=1, le=100_000, description="Steps between checkpoints.")


class Preference(_Part):
    """Preference stage on pairs of a safe and a forbidden answer, continuing the same adapter."""

    method: Literal["dpo", "orpo"] = Field(
        "dpo",
        description="dpo: against the model before this stage as reference. orpo: without one.",
    )
    beta: float = Field(
        0.1,
        gt=0,
        le=10,
        description="Strength that holds the model near its reference (dpo) or "
        "weight of the odds ratio (orpo).",
    )
    sft_weight: float = Field(
        0.0,
        ge=0,
        le=10,
        description="Weight of the plain loss on the safe answer (dpo only), so "
        "that both answers do not become unlikely together.",
    )
    learning_rate: float = Field(5e-5, gt=0, le=0.1, description="Peak rate (per step).")
    batch: int = Field(2, ge=1, le=512, description="Pairs of one pass.")
    accumulation: int = Field(4, ge=1, le=512, description="Passes of one step.")
    epochs: int = Field(1, ge=1, le=100, description="Passes over the pairs.")
    max_length: int = Field(512, ge=16, le=131_072, description="Longest sample (tokens).")
    too_long: Literal["refuse", "leave_out"] = Field(
        "refuse", description="What becomes of a longer one; it is never cut, and counted."
    )
    max_samples: int | None = Field(
        None, ge=1, description="Pairs taken at most, the same ones each time; unset: all."
    )
    warmup_ratio: float = Field(0.05, ge=0, le=0.5, description="Share of steps of rising rate.")
    checkpoint_steps: int = Field(25, ge=1, le=100_000, description="Steps between checkpoints.")


class Recipe(_Part):
    """A whole fine-tuning job."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$", description="Name of the recipe.")
    seed: int = Field(20_261, ge=0, lt=2**31, description="Seed of every random choice.")
    base: ToyBase | None = Field(
        None, description="Set for a toy base trained here; unset when the base is imported."
    )
    lora: Lora = Field(default_factory=Lora, description="The adapter.")
    sft: Sft = Field(default_factory=Sft, description="Supervised stage.")
    preference: Preference = Field(default_factory=Preference, description="Preference stage.")
    evaluation_records: int | None = Field(
        None,
        ge=0,
        description="Records of a kind measured before and after; unset: evaluation.max_records.",
    )
    gate: GateThresholds = Field(
        default_factory=GateThresholds, description="What the adapter must hold to be promoted."
    )

    def part_hash(self, *parts: str) -> str:
        """Return the content hash of the named parts: a stage depends on its own part only."""
        whole: dict[str, Any] = self.model_dump(mode="json")
        return value_hash({part: whole[part] for part in parts})

    @property
    def hash(self) -> str:
        """Return the content hash of the whole recipe."""
        return value_hash(self.model_dump(mode="json"))


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that come with the appliance."""
    folder = resources.files("appliance.training") / "recipes"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name[-5:] == ".yaml")


def load_recipe(name_or_path: str) -> Recipe:
    """Read a shipped recipe by name, or a recipe file by path.

    Raises:
        RecipeInvalidError: not YAML, an unknown key, a value out of range.
        InputMissingError: no such file.
    """
    if name_or_path in shipped_recipes():
        resource = resources.files("appliance.training") / "recipes" / f"{name_or_path}.yaml"
        return parse_recipe(resource.read_bytes(), source=name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise InputMissingError(
            expected=f"one of {', '.join(shipped_recipes())}, or a recipe file",
            found=f"no file {path}",
        )
    with os_errors(path), path.open("rb") as stream:
        data = stream.read(MAX_RECIPE_BYTES + 1)
    return parse_recipe(data, source=path.name)


def parse_recipe(data: bytes, *, source: str) -> Recipe:
    """Return the recipe written in ``data``; ``source`` names it in errors."""
    if len(data) > MAX_RECIPE_BYTES:
        raise RecipeInvalidError(
            expected=f"a recipe of at most {MAX_RECIPE_BYTES} bytes", found=f"more in {source}"
        )
    try:
        return Recipe.model_validate(yaml.safe_load(data))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeInvalidError(
            expected=f"YAML in UTF-8 in {source}", found=type(error).__name__
        ) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the document"
        raise RecipeInvalidError(
            expected=f"known keys and values in range in {source}", found=f"{key}: {first['msg']}"
        ) from error
