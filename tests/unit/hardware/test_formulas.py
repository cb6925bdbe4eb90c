"""The formulas against published figures; sizes in GB of 10^9 bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.hardware import formulas
from appliance.hardware.models import all_cards, all_models, find_model
from appliance.hardware.shape import Shape

LLAMA_70B = find_model("Llama-3.1-70B-Instruct").shape
LLAMA_8B = find_model("Llama-3.1-8B-Instruct").shape


def test_70b_at_q4_k_m_weighs_42_5_gb() -> None:
    assert formulas.weights(LLAMA_70B, "Q4_K_M").total / 1e9 == pytest.approx(42.5, rel=0.002)


def test_70b_keeps_320_kib_a_token_in_fp16() -> None:
    assert formulas.cache_bytes_a_token(LLAMA_70B, "f16") == 320 * 1024
    assert formulas.cache_bytes_a_token(LLAMA_70B, "q8_0") == 320 * 1024 * 34 // 64


def test_qlora_needs_what_is_published() -> None:
    assert formulas.qlora_bytes(LLAMA_8B) / 1e9 == pytest.approx(6.0, rel=0.03)
    assert formulas.qlora_bytes(LLAMA_70B) / 1e9 == pytest.approx(41.0, rel=0.03)


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Llama-3.1-70B-Instruct", 70.55), ("Llama-3.1-8B-Instruct", 8.03),
        ("Llama-3.2-1B-Instruct", 1.236), ("Meditron-70B", 68.98), ("Qwen2-72B-Instruct", 72.71),
        ("Mistral-Large-2407", 122.61), ("Qwen3-30B-A3B", 30.53),
    ],
)  # fmt: skip
def test_parameters(name: str, billions: float) -> None:
    assert formulas.parameters(find_model(name).shape) / 1e9 == pytest.approx(billions, rel=0.002)


@pytest.mark.parametrize("model", all_models(), ids=lambda m: m.name)
def test_published_file_sizes(model: object) -> None:
    named = find_model(getattr(model, "name", ""))
    assert named.published_gb
    for quantisation, size in named.published_gb.items():
        got = formulas.weights(named.shape, quantisation).total / 1e9
        # The tokenizer adds up to 10 MB to a file, and sizes are published with two decimals.
        assert got == pytest.approx(size, rel=0.002, abs=0.015), quantisation


def test_a_mixture_reads_its_active_experts_only() -> None:
    shape = find_model("Qwen3-30B-A3B").shape
    assert formulas.active_parameters(shape) / 1e9 == pytest.approx(3.35, rel=0.02)
    weights = formulas.weights(shape, "Q4_K_M")
    alone, together = weights.read(shape), weights.read(shape, 1000)
    assert alone < together / 5
    assert together == pytest.approx(weights.total - weights.embedding, rel=0.001)


def test_a_dense_model_reads_all_but_the_embedding() -> None:
    weights = formulas.weights(LLAMA_70B, "Q4_K_M")
    assert weights.read(LLAMA_70B, 7) == weights.total - weights.embedding


@pytest.mark.parametrize(
    ("card", "model", "quantisation", "cards", "published"),
    [
        # Fitted on these: published llama.cpp tg1024, tokens/s.
        ("NVIDIA GeForce RTX 4090", LLAMA_70B, "Q4_K_M", 2, 19.06),
        ("NVIDIA GeForce RTX 4090", LLAMA_8B, "Q4_K_M", 1, 127.74),
        ("NVIDIA GeForce RTX 3090", LLAMA_70B, "Q4_K_M", 2, 16.29),
        ("NVIDIA GeForce RTX 3090", LLAMA_8B, "Q4_K_M", 1, 111.74),
        ("NVIDIA H100 PCIe", LLAMA_70B, "Q4_K_M", 1, 25.01),
        ("NVIDIA H100 PCIe", LLAMA_8B, "Q4_K_M", 1, 144.49),
        # Not used for the fit: predicted.
        ("NVIDIA GeForce RTX 4090", LLAMA_8B, "F16", 1, 54.34),
        ("NVIDIA GeForce RTX 3090", LLAMA_8B, "F16", 1, 46.51),
        ("NVIDIA H100 PCIe", LLAMA_8B, "F16", 1, 67.79),
    ],
)
def test_decoding_speed_agrees_with_published_runs(
    card: str, model: Shape, quantisation: str, cards: int, published: float
) -> None:
    known = {c.name: c for c in all_cards()}[card]
    read = formulas.weights(model, quantisation).read(model)
    cache = formulas.cache_bytes_a_token(model, "f16") * 512
    seconds = formulas.step_seconds(
        read + cache, known.bandwidth_gb_s * 1e9, known.efficiency.decode
    )
    seconds += model.layers * known.efficiency.layer_us / 1e6
    assert cards in {1, 2}  # layers lie one after the other: more cards read no faster
    assert 1 / seconds == pytest.approx(published, rel=0.05)


@pytest.mark.parametrize(
    ("card", "cards", "published"),
    [("NVIDIA GeForce RTX 4090", 2, 905), ("NVIDIA H100 PCIe", 1, 984)],
)
def test_prompt_speed_agrees_with_published_runs(card: str, cards: int, published: float) -> None:
    known = {c.name: c for c in all_cards()}[card]
    rate = known.bf16_tflops * 1e12 * known.efficiency.prompt
    seconds = formulas.prompt_seconds(formulas.prompt_flops(LLAMA_70B, 1024), rate, cards, 2)
    assert 1024 / seconds == pytest.approx(published, rel=0.05)


def test_published_compute_buffer_of_llama_3_8b() -> None:
    # llama.cpp logs 258.50 MiB for Llama-3-8B with flash attention, batch 512, context 8192
    # where it frees one row earlier than a CPU build.
    got = formulas.compute_bytes(LLAMA_8B, 8192) / (1 << 20)
    assert got == pytest.approx(258.5, rel=0.05)


SHAPES = st.builds(
    lambda layers, kv, group, dim, ffn, vocab: Shape(
        layers=layers, hidden=256 * group, heads=kv * group, kv_heads=kv, head_dim=dim,
        ffn=256 * ffn, vocab=vocab, context=131_072,
    ),
    st.integers(1, 120), st.integers(1, 16), st.integers(1, 16), st.sampled_from([32, 64, 128]),
    st.integers(1, 64), st.integers(256, 300_000),
)  # fmt: skip


@given(SHAPES)
def test_finer_quantisations_are_larger(shape: Shape) -> None:
    order = ("Q2_K", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "F16")
    sizes = [formulas.weights(shape, q).total for q in order]
    assert sizes == sorted(sizes)
    assert sizes[-1] >= 2 * formulas.parameters(shape)


@given(SHAPES, st.sampled_from(formulas.QUANTISATIONS))
def test_layer_by_layer_gives_the_same_as_tensor_by_tensor(shape: Shape, quantisation: str) -> None:
    every = sum(formulas.tensor_bytes(t, shape, quantisation) for t in formulas.tensors(shape))
    weights = formulas.weights(shape, quantisation)
    assert weights.total == every
    assert sum(weights.layer) + weights.output + weights.embedding == every


@given(SHAPES, st.integers(256, 100_000), st.integers(1, 64))
def test_more_context_and_users_never_need_less(shape: Shape, tokens: int, users: int) -> None:
    less = formulas.cache_bytes(shape, tokens, "f16", users)
    assert formulas.cache_bytes(shape, tokens + 256, "f16", users) > less
    assert formulas.cache_bytes(shape, tokens, "f16", users + 1) > less
    assert formulas.cache_bytes(shape, tokens, "q8_0", users) < less
    assert formulas.compute_bytes(shape, tokens + 256) >= formulas.compute_bytes(shape, tokens)


def test_a_sliding_window_keeps_less() -> None:
    gemma = find_model("Gemma-3-27B-it").shape
    whole = gemma.model_copy(update={"sliding_window": 0, "global_every": 0})
    assert formulas.cache_bytes(gemma, 32768, "f16") < formulas.cache_bytes(whole, 32768, "f16") / 4


def test_a_width_that_is_no_multiple_of_256_falls_back() -> None:
    qwen = find_model("Qwen2-72B-Instruct").shape
    down = next(t for t in formulas.tensors(qwen) if t.kind == "ffn_down")
    assert formulas.tensor_type(down, qwen, "Q6_K") == "Q8_0"
