from __future__ import annotations

from dataclasses import replace

import pytest

from appliance.core.errors.hardware import CatalogueModelUnknownError, ProfileInvalidError
from appliance.hardware.catalogue import folder
from appliance.hardware.check import card_names
from appliance.hardware.machine import from_cards, from_inventory, from_profile, measured
from appliance.hardware.models import all_cards, all_models, find_model
from appliance.hardware.parse import parse
from appliance.hardware.plan import (
    GIB,
    Machine,
    Place,
    Wish,
    best_quantisation,
    make_plan,
    training,
)
from appliance.hardware.plan_report import Candidate, plan_table, report
from appliance.hardware.profile import load_profile
from appliance.hardware.recording import load_recording
from appliance.hardware.texts import LANGUAGES, words

LLAMA_70B = find_model("Llama-3.1-70B-Instruct").shape
LLAMA_8B = find_model("Llama-3.1-8B-Instruct").shape
TARGET = from_profile(load_profile("2x-rtx-5090"))


def test_the_target_machine_runs_the_70b_as_the_design_says() -> None:
    assert best_quantisation(LLAMA_70B, TARGET, Wish()) == "Q4_K_M"
    plan = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish())
    assert plan.fits
    # 1,792 GB/s over 42.5 GB less the embedding: no more than about 42 tokens/s, layers split.
    assert plan.speed["tokens_s_roofline"] == pytest.approx(42.5, rel=0.02)
    assert 25 < (plan.speed["tokens_s"] or 0) < 42
    assert plan.wanted is True
    assert plan.users is not None
    assert 1 <= plan.users <= plan.users_by_memory
    assert [s.layers for s in plan.shares] == [41, 39]  # the output lies on the second card
    assert plan.context_max > 32768


def test_one_card_does_not_hold_the_70b_and_two_4090_hold_less_context() -> None:
    one = make_plan(LLAMA_70B, "Q4_K_M", from_cards("1x RTX 5090"), Wish())
    assert not one.fits
    assert one.context_max == 0
    two = make_plan(LLAMA_70B, "Q4_K_M", from_cards("2x RTX 4090"), Wish(context=4096))
    assert two.fits
    assert two.context_max < make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish()).context_max


def test_a_quantised_cache_doubles_the_context_and_more_users_need_more() -> None:
    plain = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish())
    small = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish(cache="q8_0"))
    assert 1.6 < small.context_max / plain.context_max < 2.0
    eight = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish(users=8))
    assert eight.cache_bytes == 8 * plain.cache_bytes
    assert eight.context_max < plain.context_max


def test_the_most_context_and_users_fit_and_one_step_more_does_not() -> None:
    plan = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish())
    at_most = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish(context=plan.context_max))
    assert at_most.fits
    more = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish(context=plan.context_max + 256))
    assert not more.fits
    crowd = replace(Wish(), users=plan.users_by_memory)
    assert make_plan(LLAMA_70B, "Q4_K_M", TARGET, crowd).fits
    crowd = replace(Wish(), users=plan.users_by_memory + 1)
    assert not make_plan(LLAMA_70B, "Q4_K_M", TARGET, crowd).fits


def test_a_long_question_breaks_the_first_half_second() -> None:
    plan = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish(prompt=2048))
    assert (plan.speed["first_token_s"] or 0) > 0.5
    assert plan.wanted is False
    assert plan.users == 0


def test_training_the_70b_takes_both_cards() -> None:
    assert training(LLAMA_70B, TARGET)["cards"] == 2
    assert training(LLAMA_8B, TARGET)["cards"] == 1
    assert training(LLAMA_70B, from_cards("1x RTX 5090"))["fits"] is False


def test_unlike_cards_share_the_layers_by_their_memory() -> None:
    machine = Machine("mixed", (from_cards("RTX 5090").places[0], from_cards("RTX 4090").places[0]),
                      "assumed")  # fmt: skip
    shares = make_plan(LLAMA_70B, "Q4_K_M", machine, Wish(context=2048)).shares
    assert shares[0].layers > shares[1].layers
    assert sum(s.layers for s in shares) == 80


def test_without_a_measurement_the_speed_of_main_memory_is_not_known() -> None:
    cpu = Machine("cpu", (Place("RAM", 64 * GIB, is_card=False),), "unknown")
    plan = make_plan(LLAMA_8B, "Q4_K_M", cpu, Wish())
    assert plan.fits
    assert plan.speed["tokens_s"] is None
    assert plan.wanted is None
    assert plan.users is None
    told = measured(cpu, bandwidth=40e9, decode=0.5, prompt_flops=1e11)
    plan = make_plan(LLAMA_8B, "Q4_K_M", told, Wish())
    # 4.6 GB at half of 40 GB/s.
    assert plan.speed["tokens_s"] == pytest.approx(40e9 * 0.5 / 4.65e9, rel=0.02)


def test_a_cards_measurement_replaces_its_assumption() -> None:
    told = measured(TARGET, bandwidth=None, decode=0.5, prompt_flops=1e14)
    slow = make_plan(LLAMA_70B, "Q4_K_M", told, Wish()).speed["tokens_s"] or 0
    assert slow == pytest.approx(0.5 * 42.5, rel=0.03)
    assert told.basis == "measured"


def test_mistral_large_is_marked_forbidden_in_both_languages() -> None:
    model = find_model("mistral-large-2407")
    candidate = Candidate(model.name, model.shape, model)
    for language, word in (("en", "FORBIDDEN"), ("pt-BR", "PROIBIDO")):
        answer = report([candidate], TARGET, Wish(), None, words(language))
        assert answer["models"][0]["use"] == "forbidden"
        assert word in " ".join(answer["models"][0]["warnings"])


def test_models_are_compared_in_a_table_in_both_languages() -> None:
    models = [Candidate(m.name, m.shape, m) for m in all_models()]
    for language in LANGUAGES:
        answer = report(models, TARGET, Wish(), None, words(language))
        text = plan_table(answer, words(language))
        assert all(m.name.split("-")[0] in text for m in all_models())
        assert len(answer["models"]) == len(models)


def test_one_more_card_lets_more_users_in() -> None:
    model = find_model("Llama-3.1-70B-Instruct")
    answer = report(
        [Candidate(model.name, model.shape, model)], TARGET, Wish(), "Q4_K_M", words("en")
    )
    row = answer["models"][0]
    assert row["one_more_card"]["users_by_memory"] > row["users_by_memory"]
    assert row["one_more_card"]["context_max"] > row["context_max"]


def test_the_catalogue_names_the_models_asked_for() -> None:
    names = {m.name for m in all_models()}
    assert names >= {
        "Llama-3.1-70B-Instruct", "Llama-3.1-8B-Instruct", "Llama-3.2-1B-Instruct", "Meditron-70B",
        "Qwen2-72B-Instruct", "Mistral-Large-2407",
    }  # fmt: skip
    assert all(m.warning is not None for m in all_models() if m.use != "free")
    with pytest.raises(CatalogueModelUnknownError):
        find_model("Nobody-1B")


@pytest.mark.parametrize(
    "text", ["", "0x RTX 5090", "17x RTX 5090", "2x Abacus", "2x", "-1x RTX 5090"]
)
def test_cards_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ProfileInvalidError):
        from_cards(text)


def test_a_recorded_machine_makes_the_same_plan_as_its_profile() -> None:
    recording = load_recording(folder() / "recordings" / "target-2x-rtx-5090", 1_048_576)
    machine = from_inventory(parse(recording.probes, card_names()))
    assert machine is not None
    found = make_plan(LLAMA_70B, "Q4_K_M", machine, Wish())
    wanted = make_plan(LLAMA_70B, "Q4_K_M", TARGET, Wish())
    assert found.fits is wanted.fits
    assert found.context_max == pytest.approx(wanted.context_max, rel=0.01)


def test_card_names_are_unique() -> None:
    ids = [p for c in all_cards() for p in c.pci_ids]
    assert len(ids) == len(set(ids))
    assert card_names()["10de:2b85"] == "NVIDIA GeForce RTX 5090"
