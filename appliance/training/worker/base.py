"""Train a tokenizer and a tiny Llama from scratch: toy weights, honestly made here.

The tokenizer is SentencePiece BPE with byte fallback, without normalisation and without a space
put in front: so that transformers and llama.cpp, which each have their own implementation, cut a
text into the same tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
import torch
from transformers import (
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
)

from appliance.training.worker.common import (
    finish,
    read_jsonl,
    seed_all,
    shared_arguments,
    train,
    versions,
)
from appliance.training.worker.protocol import OUTPUT_FOLDER, Channel

SPECIAL = {"unk_id": 0, "bos_id": 1, "eos_id": 2, "pad_id": -1}
MAX_LINE_BYTES = 1 << 20  # a document longer than this is not used for the tokenizer


def train_tokenizer(
    texts: Iterator[str], folder: Path, vocab_size: int, template: str, context: int
) -> PreTrainedTokenizerBase:
    """Write ``tokenizer.model`` and the transformers files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts,
        model_prefix=str(folder / "tokenizer"),
        vocab_size=vocab_size,
        model_type="bpe",
        byte_fallback=True,
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        normalization_rule_name="identity",
        character_coverage=0.9995,
        hard_vocab_limit=False,
        split_digits=True,
        allow_whitespace_only_pieces=True,
        max_sentence_length=MAX_LINE_BYTES,
        num_threads=1,
        minloglevel=2,
        **SPECIAL,
    )
    (folder / "tokenizer.vocab").unlink()
    config = {
        "tokenizer_class": "LlamaTokenizer",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "</s>",
        "add_bos_token": True,
        "add_eos_token": False,
        "add_prefix_space": False,
        "legacy": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": context,
        "chat_template": template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return tokenizer


class Blocks(torch.utils.data.Dataset):  # type: ignore[misc]  # torch is not installed for the agent
    """The corpus as rows of equal length, documents joined with their begin and end tokens."""

    def __init__(self, documents: list[list[int]], block: int, seed: int) -> None:
        """Join ``documents`` in a seeded order and cut them into rows of ``block`` tokens."""
        order = np.random.default_rng(seed).permutation(len(documents))
        joined = np.concatenate([np.asarray(documents[i], dtype=np.int64) for i in order])
        count = max(1, len(joined) // block)
        self.rows = np.resize(joined, count * block).reshape(count, block)
        self.tokens = len(joined)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one row; every token is to be predicted."""
        row = torch.from_numpy(self.rows[index])
        return {"input_ids": row, "labels": row}


def encode_documents(
    documents: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, chat_repeats: int
) -> list[list[int]]:
    """Return the token lists of plain texts (once) and conversations (``chat_repeats`` times)."""
    begin, end = tokenizer.bos_token_id, tokenizer.eos_token_id
    encoded: list[list[int]] = []
    for document in documents:
        if "messages" in document:
            text = tokenizer.apply_chat_template(document["messages"], tokenize=False)
            ids = tokenizer(text, add_special_tokens=False)["input_ids"]
            encoded += [[begin, *ids]] * chat_repeats  # the template ends with the end token
        else:
            ids = tokenizer(document["text"], add_special_tokens=False)["input_ids"]
            encoded.append([begin, *ids, end])
    return encoded


def build_model(toy: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """Return a fresh Llama of the toy's shape."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=toy["hidden_size"],
        intermediate_size=toy["intermediate_size"],
        num_hidden_layers=toy["layers"],
        num_attention_heads=toy["heads"],
        num_key_value_heads=toy["heads"],
        max_position_embeddings=toy["context_tokens"],
        rope_theta=10_000.0,
        tie_word_embeddings=False,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    return LlamaForCausalLM(config)


def run_base(job: dict[str, Any], run: Path, channel: Channel) -> None:
    """Train tokenizer and model; write them as a Hugging Face folder."""
    toy = job["part"]
    seed_all(job["seed"])
    documents = read_jsonl(run / "corpus.jsonl")
    texts = [d.get("text", m) for d in documents for m in _messages(d)]
    channel.send("note", text="training the tokenizer")
    output = run / OUTPUT_FOLDER
    tokenizer = train_tokenizer(
        (line for text in texts for line in text.split("\n") if line),
        output,
        toy["vocab_size"],
        job["template"],
        toy["context_tokens"],
    )
    rows = Blocks(
        encode_documents(documents, tokenizer, toy["chat_repeats"]),
        toy["block_tokens"],
        job["seed"],
    )
    model = build_model(toy, tokenizer)
    arguments = TrainingArguments(
        **shared_arguments(job, run),
        max_steps=toy["steps"],
        per_device_train_batch_size=toy["batch"],
        warmup_steps=toy["warmup_steps"],
        weight_decay=0.01,
        adam_beta2=0.95,
    )
    measured = train(Trainer(model=model, args=arguments, train_dataset=rows), run, channel)
    model.save_pretrained(output)
    parameters = sum(p.numel() for p in model.parameters())
    finish(
        run,
        channel,
        {
            "parameters": parameters,
            "vocab_size": len(tokenizer),
            "corpus_tokens": rows.tokens,
            "versions": versions(),
            **measured,
        },
    )


def _messages(document: dict[str, Any]) -> list[str]:
    return [m["content"] for m in document.get("messages", [])] or [""]
