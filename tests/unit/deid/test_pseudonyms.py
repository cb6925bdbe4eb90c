from __future__ import annotations

import os
import stat
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.core.errors import PseudonymKeyError
from appliance.core.home import Home
from appliance.core.settings.deid import DeidSettings
from appliance.deid import checks, dates
from appliance.deid.keys import project_key
from appliance.deid.people import People
from appliance.deid.pseudonyms import Pseudonymizer
from appliance.deid.service import Deidentifier
from appliance.deid.synthetic import notes

KEY = bytes(range(32))
TOKENS = Pseudonymizer(KEY, DeidSettings())
CLEANER = Deidentifier(DeidSettings(), KEY)
SURROGATES = Pseudonymizer(KEY, DeidSettings(style="surrogate", dates="shift"))


@given(st.integers(0, 9999))
def test_every_spelling_of_a_cpf_has_one_pseudonym(seed: int) -> None:
    digits = "".join(c for c in People(seed).cpf() if c.isdigit())
    dotted = f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}"
    assert TOKENS.replace("BR_CPF", digits, "a") == TOKENS.replace("BR_CPF", dotted, "b")


def test_another_key_gives_another_pseudonym() -> None:
    other = Pseudonymizer(bytes(32), DeidSettings())
    assert other.replace("BR_CPF", "1", "") != TOKENS.replace("BR_CPF", "1", "")
    assert other.key_id != TOKENS.key_id


def test_names_differ_in_case_and_accents_only() -> None:
    assert TOKENS.replace("PERSON", "JOSÉ  LIMA", "") == TOKENS.replace("PERSON", "Jose Lima", "")


def test_a_pseudonym_does_not_hold_the_value_or_its_plain_hash() -> None:
    from hashlib import sha256

    token = TOKENS.replace("BR_CPF", "52998224725", "")
    assert token.startswith("[CPF:")
    assert sha256(b"52998224725").hexdigest()[:8] not in token
    assert not any(c.isdigit() for c in token)


@given(st.integers(0, 5000))
@settings(max_examples=25, deadline=None)
def test_cleaning_twice_changes_nothing_more(seed: int) -> None:
    text = next(iter(notes(1, seed))).text
    once = CLEANER.clean(text, "p").text
    assert CLEANER.clean(once, "p").text == once


def test_an_age_that_was_made_coarser_is_not_found_again() -> None:
    once = CLEANER.clean("persons aged 92 or 93; idade: 95; 97 anos").text
    assert once == "persons aged 90+ or 90+; idade: 90+; 90+ anos"
    assert CLEANER.clean(once).text == once


def test_a_cleaned_note_holds_no_planted_identifier() -> None:
    for note in notes(40, seed=3, unlabelled=False):
        text = CLEANER.clean(note.text, "p").text
        for span in note.spans:
            value = note.text[span.start : span.end]
            if len(value) > 3:
                assert value not in text
        assert all(kept in text for kept in note.keep)


@given(st.dates(date(1920, 1, 1), date(2030, 1, 1)), st.dates(date(1920, 1, 1), date(2030, 1, 1)))
def test_shifted_dates_keep_intervals_within_a_patient(one: date, other: date) -> None:
    def moved(day: date) -> date:
        found = dates.parse(SURROGATES.replace("DATE", day.strftime("%d/%m/%Y"), "patient"))
        assert found is not None
        return found

    assert moved(one) - moved(other) == one - other
    assert moved(one) != one


def test_the_default_keeps_only_the_year_of_a_date() -> None:
    assert TOKENS.replace("DATE", "12 de março de 2024", "") == "[DATA:2024]"
    assert TOKENS.replace("DATE", "12/03/98", "") == "[DATA:1998]"
    assert TOKENS.replace("DATE", "12 de março", "") == "[DATA]"
    assert TOKENS.replace("AGE_OVER_89", "97", "") == "90+"


@given(st.integers(0, 3000))
def test_surrogates_keep_the_form_and_are_nobodys_number(seed: int) -> None:
    people = People(seed)
    for entity, value, check in (
        ("BR_CPF", people.cpf(), checks.cpf_ok),
        ("BR_CNS", people.cns(), checks.cns_ok),
        ("BR_CNPJ", people.cnpj(), checks.cnpj_ok),
    ):
        made = SURROGATES.replace(entity, value, "")
        assert len(made) == len(value)
        assert [c.isalnum() for c in made] == [c.isalnum() for c in value]
        assert not check(made)


def test_the_key_is_made_once_and_only_its_owner_reads_it(home: Home) -> None:
    key = project_key(home, "default")
    path = home.keys / "pseudonym-default.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert project_key(home, "default") == key
    assert project_key(home, "other") != key


def test_a_key_that_others_can_read_is_refused(home: Home) -> None:
    project_key(home, "default")
    os.chmod(home.keys / "pseudonym-default.key", 0o644)  # noqa: PTH101 - the attack
    with pytest.raises(PseudonymKeyError, match="0644"):
        project_key(home, "default")


def test_a_cut_key_is_refused_and_not_replaced(home: Home) -> None:
    project_key(home, "default")
    path = home.keys / "pseudonym-default.key"
    path.write_bytes(b"short")
    with pytest.raises(PseudonymKeyError, match="5 bytes"):
        project_key(home, "default")
    assert path.read_bytes() == b"short"


def test_dates_are_parsed_day_first_and_american_when_it_must_be() -> None:
    assert dates.parse("03/04/2024") == date(2024, 4, 3)
    assert dates.parse("12/31/2024") == date(2024, 12, 31)
    assert dates.parse("2024-03-12") == date(2024, 3, 12)
    assert dates.parse("12 de março de 2024") == date(2024, 3, 12)
    assert dates.parse("31/02/2024") is None
