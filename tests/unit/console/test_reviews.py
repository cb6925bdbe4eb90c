"""Four eyes, and the state of an item folded from entries."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.console.accounts import User
from appliance.console.reviews import (
    DETERMINATIONS,
    REVIEW,
    SIGN_OFF,
    ItemState,
    check_comment,
    check_review,
    check_sign_off,
    fold,
)
from appliance.core.errors import ConsoleInputError, ReviewRefusedError

REVIEWER = User("revisora", "reviewer", ("rsilva",))
OFFICER = User("oficial", "officer")


@dataclass(frozen=True)
class Entry:
    key: int
    action: str
    user: str | None
    reason: str | None
    object_id: str | None = "e1n5"
    component: str = "console"
    outcome: str | None = "success"
    at: str = "2026-03-01T12:00:00.000000Z"


def state(*entries: Entry) -> ItemState:
    return fold(entries).get("e1n5", ItemState())


def test_a_determination_waits_for_the_second_person() -> None:
    now = state(Entry(1, REVIEW, "revisora", "appropriate"))
    assert (now.state, now.determination, now.reviewer) == ("reviewed", "appropriate", "revisora")


def test_two_persons_close_an_item() -> None:
    now = state(
        Entry(1, REVIEW, "revisora", "inappropriate"), Entry(2, SIGN_OFF, "oficial", "agree")
    )
    assert (now.state, now.officer) == ("closed", "oficial")
    assert not now.waits


def test_one_person_alone_closes_nothing_even_if_the_log_says_so() -> None:
    forged = Entry(2, SIGN_OFF, "revisora", "agree")
    assert state(Entry(1, REVIEW, "revisora", "appropriate"), forged).state == "reviewed"


def test_sent_back_is_open_again() -> None:
    now = state(Entry(1, REVIEW, "revisora", "appropriate"), Entry(2, SIGN_OFF, "of", "return"))
    assert now == ItemState()


def test_a_follow_up_stays_with_the_reviewers() -> None:
    entries = [Entry(1, REVIEW, "revisora", "follow_up"), Entry(2, SIGN_OFF, "oficial", "agree")]
    assert state(*entries).state == "follow_up"
    assert state(*entries, Entry(3, REVIEW, "revisora", "appropriate")).state == "reviewed"


def test_refused_attempts_and_other_components_do_not_count() -> None:
    assert state(Entry(1, REVIEW, "x", "appropriate", outcome="refused")).state == "open"
    assert state(Entry(1, REVIEW, "x", "appropriate", component="cli")).state == "open"
    assert state(Entry(1, REVIEW, "x", "anything")).state == "open"


acts = st.lists(
    st.tuples(
        st.sampled_from([REVIEW, SIGN_OFF]),
        st.sampled_from(["a", "b", "c"]),
        st.sampled_from([*DETERMINATIONS, "agree", "return"]),
    ),
    max_size=12,
)


@given(acts, st.randoms())
def test_closed_always_took_two_persons_in_any_order_of_reading(
    made: list[tuple[str, str, str]], random: object
) -> None:
    entries = [Entry(i, *act) for i, act in enumerate(made)]
    now = state(*entries)
    if now.state in {"closed", "follow_up"}:
        assert now.reviewer is not None
        assert now.officer is not None
        assert now.reviewer != now.officer
    random.shuffle(entries)  # type: ignore[attr-defined] # hypothesis gives a random.Random
    assert state(*entries) == now


def test_the_person_who_acted_does_not_review_under_any_of_her_names() -> None:
    check_review(REVIEWER, ItemState(), ["medico1"])
    for name in ("revisora", "RSilva"):
        with pytest.raises(ReviewRefusedError):
            check_review(REVIEWER, ItemState(), [name])


@pytest.mark.parametrize("role", ["auditor", "officer", "administrator"])
def test_only_reviewers_determine(role: str) -> None:
    with pytest.raises(ReviewRefusedError):
        check_review(User("x", role), ItemState(), [])  # type: ignore[arg-type] # parametrised


@pytest.mark.parametrize("role", ["auditor", "reviewer", "administrator"])
def test_only_officers_sign_off(role: str) -> None:
    now = ItemState("reviewed", "appropriate", "revisora", review_key=7)
    with pytest.raises(ReviewRefusedError):
        check_sign_off(User("x", role), now, [], 7, REVIEWER)  # type: ignore[arg-type] # parametrised


def test_a_sign_off_names_the_determination_it_was_shown() -> None:
    now = ItemState("reviewed", "appropriate", "revisora", review_key=7)
    check_sign_off(OFFICER, now, ["medico1"], 7, REVIEWER)
    with pytest.raises(ReviewRefusedError):
        check_sign_off(OFFICER, now, ["medico1"], 6, REVIEWER)


def test_an_officer_does_not_sign_off_what_he_himself_did_or_determined() -> None:
    now = ItemState("reviewed", "appropriate", "oficial", review_key=7)
    for subjects, reviewer in ((["Oficial"], REVIEWER), ([], User("oficial", "officer"))):
        with pytest.raises(ReviewRefusedError):
            check_sign_off(OFFICER, now, subjects, 7, reviewer)


def test_a_reviewer_who_became_officer_cannot_sign_under_an_alias() -> None:
    now = ItemState("reviewed", "appropriate", "revisora", review_key=7)
    with pytest.raises(ReviewRefusedError):
        check_sign_off(User("rsilva", "officer"), now, [], 7, REVIEWER)


def test_a_closed_item_is_not_determined_again() -> None:
    with pytest.raises(ReviewRefusedError):
        check_review(REVIEWER, ItemState("closed"), [])


@pytest.mark.parametrize(
    "text",
    [
        "CPF 529.982.247-25 conferido",
        "falar com ana@hospital.example",
        "ligar (11) 91234-5678",
        " ".join(itertools.repeat("palavra", 30)),
        "x" * 201,
    ],
)
def test_comments_with_identifiers_or_long_text_are_refused(text: str) -> None:
    with pytest.raises(ConsoleInputError):
        check_comment(text)


def test_a_comment_becomes_one_line() -> None:
    assert check_comment("  plantao \n confirmado ") == "plantao confirmado"
