"""Small model files made by hand, good and bad."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}"
STRING, UINT32, ARRAY = 8, 4, 9


def string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_bytes(
    metadata: dict[str, str | int] | None = None,
    *,
    magic: bytes = b"GGUF",
    version: int = 3,
    tensors: int | None = None,
    keys: int | None = None,
    shape: tuple[int, ...] = (4, 2),
    offset: int = 0,
    names: tuple[str, ...] = ("token_embd.weight",),
    extra: bytes = b"",
) -> bytes:
    values: dict[str, str | int] = {
        "general.architecture": "llama",
        "tokenizer.chat_template": TEMPLATE,
        "llama.block_count": 1,
    }
    values |= metadata or {}
    body = b""
    for key, value in values.items():
        body += string(key)
        if isinstance(value, str):
            body += struct.pack("<I", STRING) + string(value)
        else:
            body += struct.pack("<II", UINT32, value)
    body += extra
    for name in names:
        body += string(name) + struct.pack("<I", len(shape))
        body += b"".join(struct.pack("<Q", size) for size in shape)
        body += struct.pack("<IQ", 0, offset)
    count = len(values) + (1 if extra else 0) if keys is None else keys
    head = magic + struct.pack("<IQQ", version, len(names) if tensors is None else tensors, count)
    return head + body + bytes(64)


def safetensors_bytes(
    header: Any = None, *, data: bytes = bytes(16), length: int | None = None
) -> bytes:
    if header is None:
        header = {"w": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def config(**changes: Any) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 10,
        "hidden_size": 2,
        "intermediate_size": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
    } | changes


def hf_folder(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(safetensors_bytes())
    (folder / "config.json").write_text(json.dumps(config(**changes)))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": TEMPLATE}))
    return folder
