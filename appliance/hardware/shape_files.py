"""Read a model's shape from a GGUF file or a Hugging Face folder."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from appliance.core.errors.hardware import ModelShapeError
from appliance.hardware.formulas import stored
from appliance.hardware.gguf import TYPE_NAMES, Header, read_header
from appliance.hardware.shape import Shape
from appliance.hardware.values import mapping

CONFIG_MAX_BYTES = 1_048_576  # a config.json is below 10 KB


@dataclass(frozen=True)
class ReadModel:
    """A model read from a file: its shape, and the bytes its tensors really take (GGUF only)."""

    name: str
    shape: Shape
    tensor_bytes: int | None = None
    quantisation: str | None = None


def read_model(path: Path, max_header_bytes: int) -> ReadModel:
    """Read the shape of ``path``; raise ``ModelShapeError`` when it makes no sense."""
    if path.is_dir():
        return _from_folder(path)
    return _from_gguf(path, read_header(path, max_header_bytes))


def _shape(path: Path, values: dict[str, Any]) -> Shape:
    try:
        return Shape.model_validate(values, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(p) for p in first["loc"]) or "the whole"
        raise ModelShapeError(
            expected=f"a shape a model can have in {path}", found=f"{key}: {first['msg']}"
        ) from error


def _from_gguf(path: Path, header: Header) -> ReadModel:
    keys = header.keys
    arch = str(keys.get("general.architecture", ""))

    def key(name: str) -> Any:
        return keys.get(f"{arch}.{name}")

    heads, hidden = key("attention.head_count"), key("embedding_length")
    kv_heads = key("attention.head_count_kv")
    if isinstance(kv_heads, list):
        kv_heads = max((k for k in kv_heads if isinstance(k, int)), default=None)
    names = {t.name for t in header.tensors}
    head_dim = key("attention.key_length")
    if head_dim is None and isinstance(heads, int) and isinstance(hidden, int) and heads > 0:
        head_dim = hidden // heads
    shape = _shape(path, {
        "layers": key("block_count"), "hidden": hidden, "heads": heads,
        "kv_heads": kv_heads if kv_heads is not None else heads, "head_dim": head_dim,
        "ffn": key("expert_feed_forward_length") or key("feed_forward_length"),
        "vocab": key("vocab_size") or _count(keys.get("tokenizer.ggml.tokens")),
        "context": key("context_length"), "tied": "output.weight" not in names,
        "experts": key("expert_count") or 0, "experts_used": key("expert_used_count") or 0,
        "sliding_window": 0,
    })  # fmt: skip
    size = _tensor_bytes(path, header)
    kind = keys.get("general.file_type")
    return ReadModel(path.stem, shape, size, f"file type {kind}" if kind is not None else "GGUF")


def _count(value: Any) -> Any:
    return len(value) if isinstance(value, list) else value


def _tensor_bytes(path: Path, header: Header) -> int | None:
    """Add up the tensors; None when one has a type the formulas do not know."""
    total = 0
    for tensor in header.tensors:
        name = TYPE_NAMES.get(tensor.kind)
        if name is None:
            return None
        total += stored(math.prod(tensor.sides), name)
    if total > header.file_bytes:
        raise ModelShapeError(
            expected=f"{total} bytes of tensors in {path}",
            found=f"a file of {header.file_bytes} bytes",
            remedy="The file is cut: copy it again and check its hash.",
        )
    return total


def _from_folder(folder: Path) -> ReadModel:
    path = folder / "config.json"
    try:
        with path.open("rb") as stream:
            data = stream.read(CONFIG_MAX_BYTES + 1)
        config = mapping(json.loads(data if len(data) <= CONFIG_MAX_BYTES else b""))
    except OSError as error:
        raise ModelShapeError(
            expected=f"a Hugging Face folder with config.json at {folder}",
            found=error.strerror or "not readable",
        ) from error
    except (ValueError, RecursionError) as error:
        raise ModelShapeError(expected=f"JSON in {path}", found="something else") from error
    config = mapping(config.get("text_config")) or config
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    head_dim = config.get("head_dim")
    if head_dim is None and isinstance(heads, int) and isinstance(hidden, int) and heads > 0:
        head_dim = hidden // heads
    shape = _shape(path, {
        "layers": config.get("num_hidden_layers"), "hidden": hidden, "heads": heads,
        "kv_heads": config.get("num_key_value_heads", heads), "head_dim": head_dim,
        "ffn": config.get("moe_intermediate_size") or config.get("intermediate_size"),
        "vocab": config.get("vocab_size"), "context": config.get("max_position_embeddings"),
        "tied": config.get("tie_word_embeddings", False),
        "experts": config.get("num_experts") or config.get("num_local_experts") or 0,
        "experts_used": config.get("num_experts_per_tok") or 0,
    })  # fmt: skip
    return ReadModel(folder.name, shape)
