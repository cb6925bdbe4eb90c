from __future__ import annotations

import string

import click
import pytest

from appliance.hardware.judge import CHECK_NAMES
from appliance.hardware.texts import TEXTS, language_from, words


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("key", sorted(TEXTS))
def test_both_languages_take_the_same_fields(key: str) -> None:
    english, portuguese = TEXTS[key]
    assert english.strip()
    assert portuguese.strip()
    assert fields(english) == fields(portuguese)


@pytest.mark.parametrize("name", CHECK_NAMES)
def test_every_check_has_a_remedy(name: str) -> None:
    assert f"fix.{name}" in TEXTS


@pytest.mark.parametrize(
    ("environment", "asked", "language"),
    [
        ({"LANG": "pt_BR.UTF-8"}, None, "pt-BR"),
        ({"LANG": "pt_PT"}, None, "pt-BR"),
        ({"LANG": "de_DE.UTF-8"}, None, "en"),
        ({"LANG": "pt_BR.UTF-8", "LC_ALL": "C"}, None, "en"),
        ({"LANG": "pt_BR.UTF-8"}, "en", "en"),
        ({}, None, "en"),
    ],
)
def test_the_language_comes_from_the_environment_unless_asked(
    environment: dict[str, str], asked: str | None, language: str
) -> None:
    assert language_from(environment, asked) == language


def test_words_fill_their_fields() -> None:
    assert words("pt-BR")("verdict.yes", profile="x") == "Esta máquina serve para o perfil x."


def test_every_kind_of_not_knowing_is_put_in_words() -> None:
    from appliance.hardware.readings import Status

    kinds = {s.value for s in Status} - {"ok", "absent"}
    assert all(f"why.{kind}" in TEXTS for kind in kinds | {"driver", "silent"})


def test_the_command_offers_what_the_package_knows() -> None:
    from appliance.cli.hardware import _QUANTISATIONS, check
    from appliance.hardware.formulas import QUANTISATIONS
    from appliance.hardware.texts import LANGUAGES

    assert tuple(_QUANTISATIONS) == QUANTISATIONS
    language = next(p.type for p in check.params if p.name == "lang")
    assert isinstance(language, click.Choice)
    assert tuple(language.choices) == LANGUAGES
