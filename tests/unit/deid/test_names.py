from __future__ import annotations

import random
from pathlib import Path

import pytest

from appliance.core.errors import InputMissingError
from appliance.deid.bench import covered
from appliance.deid.detector import Detector
from appliance.deid.name_model import NameModel
from appliance.deid.name_training import Plan, faker_names, sentence, train
from appliance.deid.people import People
from appliance.deid.spans import Span

PLAN = Plan(sentences=600, rounds=8, seed=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names") / "model"
    return train(folder, faker_names(3), PLAN).folder


def test_made_sentences_say_where_their_names_are() -> None:
    chance = random.Random(1)  # noqa: S311 - made-up data
    people = People(1)
    made = [sentence(chance, people, lambda: "Zoraide Quental", ()) for _ in range(300)]
    values = {text[a:b].casefold() for text, spans in made for a, b, _ in spans}
    assert any(value.startswith("zoraide") for value in values)
    assert any(not spans for _, spans in made)
    assert all(not value[0].isspace() and not value[-1].isspace() for value in values)


def test_a_trained_model_finds_names_that_no_label_announces(model: Path) -> None:
    chance = random.Random(99)  # noqa: S311 - made-up data
    people, names = People(99), faker_names(99)
    made = [sentence(chance, people, names, ()) for _ in range(120)]
    plain, helped = Detector(), Detector(name_model=str(model))

    def found(detector: Detector) -> int:
        return sum(
            covered(Span(start, end, label), detector.find(text))
            for text, spans in made
            for start, end, label in spans
        )

    planted = sum(len(spans) for _, spans in made)
    assert found(helped) > 0.6 * planted > 2 * found(plain)


def test_the_model_is_part_of_the_policy(model: Path) -> None:
    assert Detector().model_name == ""
    assert len(Detector(name_model=str(model)).model_name) == 64


def test_a_missing_model_is_an_error_and_not_a_weaker_search(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError):
        NameModel(str(tmp_path))
