from __future__ import annotations

from typing import Any

import pytest

from appliance.core.errors import ModelUnknownError
from appliance.registry.manifest import Manifest
from appliance.training.plan import Shape, plan, to_dict
from appliance.training.recipe import load_recipe

GIB = 2**30
LLAMA_8B = {  # the published configuration of Llama-3.1-8B
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
PARAMETERS_8B = 8_030_261_248


def base(parameters: int = PARAMETERS_8B) -> Manifest:
    return Manifest(
        kind="base",
        hash="a" * 64,
        name="x",
        created="",
        bytes=1,
        licence="x",
        source="x",
        shape={"parameters": parameters},
    )


def test_the_adapter_of_an_8b_has_the_published_size() -> None:
    shape = Shape.of_base(base(), LLAMA_8B)
    modules = load_recipe("clinical-8b").lora.target_modules
    assert shape.lora_parameters(16, modules) == 41_943_040


def test_qlora_of_an_8b_fits_a_32_gb_card_and_not_a_4_gb_one() -> None:
    shape = Shape.of_base(base(), LLAMA_8B)
    stages = plan(load_recipe("clinical-8b"), shape, {"sft": 1000, "preference": 400}, "cuda")
    assert [s.stage for s in stages] == ["sft", "preference"]
    needed = max(s.memory_bytes for s in stages)
    assert 6 * GIB < needed < 32 * GIB
    assert [s.steps for s in stages] == [375, 50]


def test_the_toy_counts_its_weights_as_the_trainer_does() -> None:
    toy = load_recipe("demo").base
    assert toy is not None
    shape = Shape.of_toy(toy)
    layer = 4 * toy.hidden_size**2 + 3 * toy.hidden_size * toy.intermediate_size
    assert shape.parameters == 2 * toy.vocab_size * toy.hidden_size + toy.layers * layer


def test_the_demo_fits_three_gib_by_its_own_estimate() -> None:
    recipe = load_recipe("demo")
    assert recipe.base is not None
    stages = plan(recipe, Shape.of_toy(recipe.base), {"sft": 240, "preference": 110}, "cpu")
    assert [s.stage for s in stages] == ["base", "sft", "preference"]
    assert max(s.memory_bytes for s in stages) < 3 * GIB


def test_time_is_known_only_where_the_speed_is() -> None:
    recipe = load_recipe("demo")
    assert recipe.base is not None
    stage = plan(recipe, Shape.of_toy(recipe.base), {"sft": 240}, "cpu")[1]
    assert to_dict(stage, None)["seconds"] is None
    assert to_dict(stage, stage.flops)["seconds"] == 1.0


@pytest.mark.parametrize("config", [{}, LLAMA_8B | {"num_attention_heads": 0}])
def test_a_base_without_sizes_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(ModelUnknownError):
        Shape.of_base(base(), config)
