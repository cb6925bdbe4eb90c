from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors import InputMissingError, RecipeInvalidError
from appliance.training.recipe import Recipe, load_recipe, parse_recipe, shipped_recipes


def test_every_shipped_recipe_is_sound_and_named_as_its_file() -> None:
    assert shipped_recipes() == ["clinical-8b", "demo", "tiny"]
    for name in shipped_recipes():
        assert load_recipe(name).name == name


def test_the_real_recipe_follows_the_published_practice() -> None:
    recipe = load_recipe("clinical-8b")
    assert recipe.base is None
    assert (recipe.lora.rank, recipe.lora.dropout, recipe.lora.four_bit_base) == (16, 0.0, True)
    assert 16 <= recipe.lora.alpha <= 32
    assert 1e-4 <= recipe.sft.learning_rate <= 5e-4
    assert (recipe.sft.batch, recipe.sft.accumulation) == (2, 4)
    assert recipe.sft.too_long == recipe.preference.too_long == "refuse"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("name: x\nlearning_rate: 1\n", "learning_rate"),
        ("name: x\nsft: {learning_rate: 7}\n", "sft.learning_rate"),
        ("name: x\nsft: {epochs: 0}\n", "sft.epochs"),
        ("name: x\npreference: {method: ppo}\n", "preference.method"),
        ("name: x\ngate: {max_perplexity: 1}\n", "gate.max_perplexity"),
        ("name: '../x'\n", "name"),
        ("name: x\nbase: {hidden_size: 50, heads: 4}\n", "multiple of twice heads"),
        ("name: x\nbase: {block_tokens: 512, context_tokens: 128}\n", "block_tokens"),
        ("- a list\n", "the document"),
        ("name: [\n", "Error"),
        ("", "the document"),
    ],
)
def test_a_wrong_recipe_is_refused_and_the_key_is_named(text: str, found: str) -> None:
    with pytest.raises(RecipeInvalidError) as caught:
        parse_recipe(text.encode(), source="r.yaml")
    assert found in caught.value.found


def test_a_recipe_cannot_make_python_objects() -> None:
    with pytest.raises(RecipeInvalidError):
        parse_recipe(b"name: !!python/object/apply:os.system ['true']", source="r.yaml")


def test_a_huge_file_and_a_missing_one_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(b"#" * 200_000)
    with pytest.raises(RecipeInvalidError, match="100000"):
        load_recipe(str(path))
    with pytest.raises(InputMissingError):
        load_recipe(str(tmp_path / "absent.yaml"))


@given(epochs=st.integers(1, 100), seed=st.integers(0, 2**31 - 1))
def test_the_hash_of_a_stage_depends_on_its_own_part_only(epochs: int, seed: int) -> None:
    plain = Recipe(name="x")
    other = Recipe.model_validate({"name": "y", "seed": seed, "preference": {"epochs": epochs}})
    assert plain.part_hash("base", "sft", "lora") == other.part_hash("base", "sft", "lora")
    same = (seed, epochs) == (plain.seed, plain.preference.epochs)
    assert (plain.part_hash("preference", "seed") == other.part_hash("preference", "seed")) == same


def test_a_recipe_file_gives_the_same_hash_as_the_same_values(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("# a comment\nsft:\n  epochs: 3\nname: x\n")
    assert load_recipe(str(path)).hash == Recipe(name="x").hash
