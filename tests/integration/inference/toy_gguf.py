"""A tiny Llama in GGUF with random weights, and a LoRA for it: real files for real llama.cpp."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

LAYERS, WIDTH, HEADS, HIDDEN, CONTEXT, RANK = 2, 64, 4, 128, 1024, 4
# A file's own template must never be used where another is pinned: this one would show.
FROM_THE_FILE = "{{ 'FROM THE FILE' }}"
WORDS = (
    "a o e de da do em um uma para com não se que por mais dor febre peito criança remédio dose "
    "médico hospital urgência ligue SAMU 192 procure atendimento posso tomar é normal qual quanto "
    "gravidez pergunta resposta contexto yes no maybe Pergunta Resposta ### : ? . , ! chest pain"
)


def vocabulary() -> tuple[list[str], list[float], list[int]]:
    """Return SentencePiece texts, scores and types: unknown, begin, end, bytes, letters, words."""
    words = sorted(set(WORDS.split()))
    letters = sorted({c for w in words for c in w} | set("abcdefghijklmnopqrstuvwxyz0123456789"))
    pieces: set[str] = {"\u2581"}
    for word in words:
        whole = "\u2581" + word
        # SentencePiece joins pairs of neighbours: every beginning must be a piece of its own.
        pieces |= {whole[:n] for n in range(2, len(whole) + 1)}
    normal = [*(p for p in letters if p not in pieces), *sorted(pieces, key=lambda p: (len(p), p))]
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), *normal]
    scores = [0.0, 0.0, 0.0, *([-1000.0] * 256), *(float(len(p)) for p in normal)]
    types = [2, 3, 3, *([6] * 256), *([1] * len(normal))]
    return texts, scores, types


def write_base(path: Path, *, seed: int = 7, template: str = FROM_THE_FILE) -> Path:
    """Write the base model."""
    random = np.random.default_rng(seed)
    texts, scores, types = vocabulary()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("toy")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(texts))
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(texts)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(value=True)
    writer.add_chat_template(template)

    def tensor(name: str, *shape: int, scale: float = 0.3) -> None:
        writer.add_tensor(name, random.normal(0, scale, shape).astype(np.float32))

    tensor("token_embd.weight", len(texts), WIDTH, scale=1.0)
    tensor("output.weight", len(texts), WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(WIDTH, np.float32))
    for layer in range(LAYERS):
        block = f"blk.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"{block}{name}.weight", np.ones(WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            tensor(f"{block}{name}.weight", WIDTH, WIDTH)
        tensor(f"{block}ffn_gate.weight", HIDDEN, WIDTH)
        tensor(f"{block}ffn_up.weight", HIDDEN, WIDTH)
        tensor(f"{block}ffn_down.weight", WIDTH, HIDDEN)
    _finish(writer)
    return path


def write_adapter(path: Path, *, seed: int = 11, scale: float = 0.5) -> Path:
    """Write a LoRA adapter for the base model."""
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", float(RANK))
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_v"):
            for half, shape in (("lora_a", (RANK, WIDTH)), ("lora_b", (WIDTH, RANK))):
                values = random.normal(0, scale, shape).astype(np.float32)
                writer.add_tensor(f"blk.{layer}.{name}.weight.{half}", values)
    _finish(writer)
    return path


def _finish(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
