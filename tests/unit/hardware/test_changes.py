from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.hardware.changes import CardState, DiskState, State, compare

A, B = "0000:01:00.0", "0000:41:00.0"
CARD = CardState(name="card", width=16, best_width=16)
BEFORE = State(
    cards={A: CARD, B: CARD},
    disks={"nvme0n1": DiskState(healthy=True)},
    driver="570.1",
    clock=True,
    tpm="2",
)
NOTHING = State()


def kinds(now: State, before: State = BEFORE) -> list[str]:
    return [c.kind for c in compare(before, now)[0]]


@pytest.mark.parametrize(
    ("update", "kind"),
    [
        ({"cards": {A: CARD}}, "card_gone"),
        ({"cards": {A: CARD, B: CARD, "0000:81:00.0": CARD}}, "card_added"),
        ({"cards": {A: CARD, B: CardState(name="card", width=4)}}, "link_width_dropped"),
        ({"driver": "580.2"}, "driver_changed"),
        ({"driver": ""}, "driver_changed"),
        ({"disks": {"nvme0n1": DiskState(healthy=False)}}, "disk_failing"),
        ({"disks": {}}, "disk_gone"),
        ({"disks": {**(BEFORE.disks or {}), "sda": DiskState()}}, "disk_added"),
        ({"clock": False}, "clock_unsynchronised"),
        ({"tpm": ""}, "tpm_changed"),
    ],
)
def test_each_change_is_told_once(update: dict[str, object], kind: str) -> None:
    now = BEFORE.model_copy(update=update)
    found, after = compare(BEFORE, now)
    assert [c.kind for c in found] == [kind]
    assert compare(after, now)[0] == []


def test_the_same_machine_is_no_change() -> None:
    assert compare(BEFORE, BEFORE) == ([], BEFORE)


def test_the_first_look_tells_only_what_is_wrong_already() -> None:
    assert kinds(BEFORE, NOTHING) == []
    bad = BEFORE.model_copy(update={"clock": False, "disks": {"sda": DiskState(healthy=False)}})
    assert sorted(kinds(bad, NOTHING)) == ["clock_unsynchronised", "disk_failing"]


def test_what_is_not_known_is_no_change_and_does_not_forget() -> None:
    found, after = compare(BEFORE, NOTHING)
    assert found == []
    assert after == BEFORE


def test_a_card_that_comes_back_is_told() -> None:
    _, gone = compare(BEFORE, BEFORE.model_copy(update={"cards": {A: CARD}}))
    assert gone.cards is not None
    assert gone.cards[B].present is False
    assert kinds(BEFORE, gone) == ["card_back"]


def test_the_clock_and_the_link_can_recover() -> None:
    narrow = {A: CARD, B: CardState(name="card", width=4)}
    _, worse = compare(BEFORE, BEFORE.model_copy(update={"clock": False, "cards": narrow}))
    assert worse.cards is not None
    assert worse.cards[B].best_width == 16
    assert kinds(BEFORE, worse) == ["link_width_restored", "clock_synchronised"]


STATES = st.builds(
    State,
    cards=st.none() | st.dictionaries(
        st.sampled_from([A, B]), st.builds(CardState, width=st.none() | st.sampled_from([4, 16]))
    ),
    disks=st.none() | st.dictionaries(
        st.sampled_from(["sda", "sdb"]), st.builds(DiskState, healthy=st.none() | st.booleans())
    ),
    driver=st.none() | st.sampled_from(["", "570", "580"]),
    clock=st.none() | st.booleans(),
    tpm=st.none() | st.sampled_from(["", "2"]),
)  # fmt: skip


@given(st.lists(STATES, max_size=6))
def test_looking_twice_at_the_same_machine_tells_nothing_new(looks: list[State]) -> None:
    state = NOTHING
    for look in looks:
        _, state = compare(state, look)
        again, same = compare(state, look)
        assert again == []
        assert same == state
