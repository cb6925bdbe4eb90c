"""Put a recipe, a dataset and this machine together: does it fit, how long does it take?"""

from __future__ import annotations

import json
import time
from typing import Any

from appliance.core.durable import os_errors
from appliance.core.errors import ModelUnknownError
from appliance.training import samples
from appliance.training.plan import Shape, measured_seconds, plan, to_dict
from appliance.training.recipe import Recipe
from appliance.training.service import Workshop

PROBE_WIDTH = 768  # a product this wide is what a small model's layers do, and takes milliseconds
PROBE_ROUNDS = 10
USED_SHARE = 0.5  # of a plain product's speed that training reaches; measured here: 0.4 to 0.6


def forecast(shop: Workshop, recipe: Recipe, dataset: str, base: str | None) -> dict[str, Any]:
    """Return the plan as JSON: stages with memory and time, and ``ok`` when the memory is there.

    Raises:
        ModelUnknownError: no base is named and the recipe trains none.
    """
    records = samples.train_records(shop.dataset(dataset))
    counts = {
        "sft": len(samples.sft_rows(records, recipe.sft.max_samples, recipe.seed)),
        "preference": len(
            samples.preference_rows(records, recipe.preference.max_samples, recipe.seed)
        ),
    }
    shape = _shape(shop, recipe, base)
    device, memory = _device(shop)
    speed = _cpu_speed() * USED_SHARE if device == "cpu" else None
    stages = [
        to_dict(estimate, speed)
        | {"measured_seconds": measured_seconds(shop.models, estimate.stage, recipe.name)}
        for estimate in plan(recipe, shape, counts, device)
    ]
    needed = max(stage["memory_bytes"] for stage in stages)
    return {
        "ok": needed <= memory,
        "recipe": recipe.name,
        "recipe_hash": recipe.hash,
        "device": device,
        "memory_bytes": memory,
        "needed_bytes": needed,
        "samples": counts,
        "stages": stages,
    }


def _shape(shop: Workshop, recipe: Recipe, base: str | None) -> Shape:
    if base is not None:
        manifest = shop.models.get(base)
        path = shop.models.files(manifest.hash) / "config.json"
        with os_errors(path):
            return Shape.of_base(manifest, json.loads(path.read_bytes()))
    if recipe.base is None:
        raise ModelUnknownError(
            expected="--base with the hash of a base model", found=f"none for recipe {recipe.name}"
        )
    return Shape.of_toy(recipe.base)


def _device(shop: Workshop) -> tuple[str, int]:
    """Return the device training would use and its free memory in bytes."""
    import psutil

    if shop.settings.training.device == "auto":
        free = _cuda_free()
        if free is not None:
            return "cuda", free
    return "cpu", int(psutil.virtual_memory().available)


def _cuda_free() -> int | None:
    """Return the free memory of the first NVIDIA card, or ``None`` where there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        if pynvml.nvmlDeviceGetCount() == 0:
            return None
        return int(pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0)).free)
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


def _cpu_speed() -> float:
    """Return the FLOPs a second of a 32-bit matrix product on this machine, now."""
    import numpy as np

    left = np.ones((PROBE_WIDTH, PROBE_WIDTH), dtype=np.float32)
    np.dot(left, left)
    began = time.perf_counter()
    for _ in range(PROBE_ROUNDS):
        np.dot(left, left)
    return float(2 * PROBE_WIDTH**3 * PROBE_ROUNDS / (time.perf_counter() - began))
