"""How much memory and time a training takes, before it is started."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from appliance.core.errors import ModelUnknownError
from appliance.registry.manifest import Manifest
from appliance.registry.store import ModelStore
from appliance.training.recipe import Preference, Recipe, Sft, ToyBase

# AdamW in 32 bits: weight, gradient and two moments, 4 bytes each (Loshchilov and Hutter, 2019).
TRAINED_BYTES = 16
HALF, FULL, QUARTER = 2.0, 4.0, 0.56  # bytes a weight: 16 bits; 32 bits; NF4 with its scales
# Numbers of 2 or 4 bytes a token and layer that the backward pass keeps, in widths of a layer;
# with checkpointing only a layer's input is kept. Korthikanti et al. (2022), equation 1, 34 s b h.
KEPT_WIDTHS = 17
PROCESS_BYTES = {"cpu": 550 * 2**20, "cuda": 2 * 2**30}  # python, torch, trl; measured, rounded up
# Matrix FLOPs a weight and token: forward 2, backward 4; without the base's own gradients 2 less.
FLOPS_FULL, FLOPS_LORA = 6, 4


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama-like model that memory and time hang on."""

    parameters: int
    vocab: int
    hidden: int
    intermediate: int
    layers: int
    key_value_width: int

    @classmethod
    def of_toy(cls, toy: ToyBase) -> Shape:
        """Return the shape of a toy base."""
        layer = 4 * toy.hidden_size**2 + 3 * toy.hidden_size * toy.intermediate_size
        total = 2 * toy.vocab_size * toy.hidden_size + toy.layers * layer
        return cls(
            total,
            toy.vocab_size,
            toy.hidden_size,
            toy.intermediate_size,
            toy.layers,
            toy.hidden_size,
        )

    @classmethod
    def of_base(cls, manifest: Manifest, config: dict[str, Any]) -> Shape:
        """Return the shape of a registered base, from its ``config.json``.

        Raises:
            ModelUnknownError: the base does not say its sizes.
        """
        try:
            hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
            head = int(config.get("head_dim") or hidden // heads)
            parameters = int(manifest.shape.get("parameters") or 0)
            return cls(
                parameters,
                int(config["vocab_size"]),
                hidden,
                int(config["intermediate_size"]),
                int(config["num_hidden_layers"]),
                head * int(config.get("num_key_value_heads") or heads),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ModelUnknownError(
                expected="a base whose config.json names its sizes", found=f"{error!r}"[:80]
            ) from error

    def lora_parameters(self, rank: int, modules: tuple[str, ...]) -> int:
        """Return the weights of an adapter: rank x (inputs + outputs) a target and layer."""
        h, i, kv = self.hidden, self.intermediate, self.key_value_width
        sides = {
            "q_proj": 2 * h,
            "k_proj": h + kv,
            "v_proj": h + kv,
            "o_proj": 2 * h,
            "gate_proj": h + i,
            "up_proj": h + i,
            "down_proj": h + i,
        }
        return rank * self.layers * sum(sides.get(m, 2 * h) for m in modules)


@dataclass(frozen=True)
class StageEstimate:
    """What one stage needs: optimiser steps, trained weights, bytes, and work to be done."""

    stage: str
    steps: int
    trained_parameters: int
    memory_bytes: int
    flops: float


def plan(recipe: Recipe, shape: Shape, samples: dict[str, int], device: str) -> list[StageEstimate]:
    """Estimate every stage of ``recipe``; ``samples`` counts rows by stage.

    Memory is an upper estimate: every sample is taken as long as ``max_length``.
    """
    stages = []
    if recipe.base is not None:
        toy = recipe.base
        tokens = toy.batch * toy.block_tokens
        memory = shape.parameters * TRAINED_BYTES + _activations(shape, tokens, FULL, kept=True)
        stages.append(
            StageEstimate(
                "base",
                toy.steps,
                shape.parameters,
                round(memory) + PROCESS_BYTES[device],
                float(FLOPS_FULL * shape.parameters * tokens * toy.steps),
            )
        )
    stages.append(_tuning("sft", recipe, shape, samples.get("sft", 0), device))
    stages.append(_tuning("preference", recipe, shape, samples.get("preference", 0), device))
    return stages


def _activations(shape: Shape, tokens: int, size: float, *, kept: bool) -> float:
    widths = KEPT_WIDTHS + 3 * shape.intermediate / shape.hidden if kept else 1
    layers = tokens * shape.hidden * shape.layers * widths * size
    return layers + 2 * tokens * shape.vocab * FULL  # logits and their gradient, in 32 bits


def _tuning(stage: str, recipe: Recipe, shape: Shape, samples: int, device: str) -> StageEstimate:
    part: Sft | Preference = recipe.sft if stage == "sft" else recipe.preference
    trained = shape.lora_parameters(recipe.lora.rank, recipe.lora.target_modules)
    cuda = device == "cuda"
    weight = (QUARTER if recipe.lora.four_bit_base else HALF) if cuda else FULL
    # A pair is two sequences; dpo asks the reference too, without keeping its activations.
    sequences = 2 if stage == "preference" else 1
    passes = FLOPS_LORA + (2 if stage == "preference" and recipe.preference.method == "dpo" else 0)
    tokens = part.batch * part.max_length * sequences
    memory = shape.parameters * weight + trained * TRAINED_BYTES
    memory += _activations(shape, tokens, HALF if cuda else FULL, kept=not cuda)
    steps = -(-samples // (part.batch * part.accumulation)) * part.epochs
    work = float(passes * shape.parameters * part.max_length * sequences * samples * part.epochs)
    return StageEstimate(stage, steps, trained, round(memory) + PROCESS_BYTES[device], work)


def measured_seconds(models: ModelStore, stage: str, recipe: str) -> float | None:
    """Return how long the same stage of the same recipe took here before, when it did."""
    name = "toy base of recipe" if stage == "base" else f"{stage} of recipe"
    for manifest in reversed(models.list()):
        if manifest.name == f"{name} {recipe}" and "seconds" in manifest.measured:
            return manifest.measured["seconds"]
    return None


def to_dict(estimate: StageEstimate, flops_per_second: float | None) -> dict[str, Any]:
    """Return the JSON form, with seconds where the machine's speed is known."""
    seconds = round(estimate.flops / flops_per_second, 1) if flops_per_second else None
    return asdict(estimate) | {"seconds": seconds}
