"""A minimal GGUF writer: random weights in the layout llama.cpp loads."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

GgufMaker = Callable[..., Path]
_CODES = {
    "u32": (4, "<I"),
    "i32": (5, "<i"),
    "f32": (6, "<f"),
    "u64": (10, "<Q"),
    "i64": (11, "<q"),
}


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key: str, kind: str, value: Any) -> bytes:
    if kind == "str":
        return text(key) + struct.pack("<I", 8) + text(value)
    if kind == "strs":
        body = b"".join(text(v) for v in value)
        return text(key) + struct.pack("<IIQ", 9, 8, len(value)) + body
    if kind in {"f32s", "i32s"}:
        number, code = (6, "f") if kind == "f32s" else (5, "i")
        head = struct.pack("<IIQ", 9, number, len(value))
        return text(key) + head + struct.pack(f"<{len(value)}{code}", *value)
    number, code = _CODES[kind]
    return text(key) + struct.pack("<I", number) + struct.pack(code, value)


def tensor(name: str, sides: tuple[int, ...], kind: int, offset: int) -> bytes:
    return (
        text(name)
        + struct.pack("<I", len(sides))
        + b"".join(struct.pack("<Q", s) for s in sides)
        + struct.pack("<IQ", kind, offset)
    )


def header(pairs: list[bytes], tensors: list[bytes], version: int = 3) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(pairs))
    data = head + b"".join(pairs) + b"".join(tensors)
    return data + b"\0" * (-len(data) % 32)


def shape_pairs(**values: Any) -> list[bytes]:
    """Keys of a small llama, any of them replaced or (None) left out."""
    keys: dict[str, tuple[str, Any]] = {
        "general.architecture": ("str", "llama"),
        "llama.block_count": ("u32", 2),
        "llama.context_length": ("u32", 1024),
        "llama.embedding_length": ("u32", 256),
        "llama.feed_forward_length": ("u32", 768),
        "llama.attention.head_count": ("u32", 8),
        "llama.attention.head_count_kv": ("u32", 4),
        "llama.vocab_size": ("u32", 512),
    }
    keys |= {k.replace("__", "."): v for k, v in values.items()}
    return [pair(k, *v) for k, v in keys.items() if v is not None]


@pytest.fixture(scope="session")
def gguf_parts() -> dict[str, Any]:
    """The pieces of the writer, for tests of the reader."""
    return {"pair": pair, "tensor": tensor, "header": header, "shape_pairs": shape_pairs}
