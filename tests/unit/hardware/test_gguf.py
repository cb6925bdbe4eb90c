"""GGUF headers, honest and absurd."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.core.errors.hardware import ModelShapeError
from appliance.hardware.shape_files import read_model

LIMIT = 1_000_000
Parts = dict[str, Any]


def model(parts: Parts, path: Path, *, data_bytes: int = 1 << 20, **keys: Any) -> Path:
    tensors = [parts["tensor"]("token_embd.weight", (256, 512), 1, 0)]
    path.write_bytes(parts["header"](parts["shape_pairs"](**keys), tensors) + b"\0" * data_bytes)
    return path


def test_a_small_model_is_read(tmp_path: Path, gguf_parts: Parts) -> None:
    read = read_model(model(gguf_parts, tmp_path / "toy.gguf"), LIMIT)
    assert (read.name, read.tensor_bytes) == ("toy", 256 * 512 * 2)
    shape = read.shape
    assert (shape.layers, shape.hidden, shape.heads, shape.kv_heads) == (2, 256, 8, 4)
    assert (shape.head_dim, shape.vocab, shape.tied) == (32, 512, True)


def test_the_vocabulary_is_counted_when_it_is_not_named(tmp_path: Path, gguf_parts: Parts) -> None:
    tokens = [f"t{i}" for i in range(2000)]
    path = model(gguf_parts, tmp_path / "m.gguf", llama__vocab_size=None,
                 tokenizer__ggml__tokens=("strs", tokens))  # fmt: skip
    assert read_model(path, LIMIT).shape.vocab == 2000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("llama.block_count", ("u32", 0)),
        ("llama.block_count", ("u32", 4_000_000_000)),
        ("llama.block_count", ("i32", -1)),
        ("llama.block_count", ("str", "many")),
        ("llama.block_count", ("f32", 2.0)),
        ("llama.embedding_length", ("u32", 4_000_000_000)),
        ("llama.attention.head_count", ("u32", 0)),
        ("llama.attention.head_count_kv", ("u32", 3)),
        ("llama.attention.head_count_kv", ("u32", 0)),
        ("llama.context_length", ("u64", 1 << 60)),
        ("llama.vocab_size", ("u32", 0xFFFFFFFF)),
        ("llama.feed_forward_length", None),
        ("general.architecture", ("str", "nothing")),
        ("llama.expert_count", ("u32", 8)),
    ],
)
def test_an_absurd_shape_is_refused(
    tmp_path: Path, gguf_parts: Parts, key: str, value: tuple[str, Any] | None
) -> None:
    keys: Any = {key.replace(".", "__"): value}
    path = model(gguf_parts, tmp_path / "m.gguf", **keys)
    with pytest.raises(ModelShapeError):
        read_model(path, LIMIT)


def test_a_file_that_is_cut_is_named(tmp_path: Path, gguf_parts: Parts) -> None:
    path = model(gguf_parts, tmp_path / "m.gguf", data_bytes=1000)
    with pytest.raises(ModelShapeError) as caught:
        read_model(path, LIMIT)
    assert "copy it again" in caught.value.todo


HUGE = 1 << 62


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"GGML" + b"\0" * 64,
        b"GGUF" + struct.pack("<IQQ", 1, 0, 0),
        b"GGUF" + struct.pack("<IQQ", 3, HUGE, 0),
        b"GGUF" + struct.pack("<IQQ", 3, 0, HUGE),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, HUGE),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IQ", 8, HUGE),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 4, HUGE),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<IIQ", 9, 9, 1),
        b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 1) + b"k" + struct.pack("<I", 99),
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<I", 4_000_000_000),
        b"GGUF" + struct.pack("<IQQQ", 3, 1, 0, 1) + b"t" + struct.pack("<IQ", 1, HUGE),
    ],
)
def test_an_absurd_header_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelShapeError):
        read_model(path, LIMIT)


def test_a_header_larger_than_the_limit_is_refused(tmp_path: Path, gguf_parts: Parts) -> None:
    path = model(gguf_parts, tmp_path / "m.gguf", x=("str", "y" * 10_000))
    assert read_model(path, LIMIT)
    with pytest.raises(ModelShapeError):
        read_model(path, 5_000)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.integers(0, 700), st.binary(min_size=1, max_size=12))
def test_a_damaged_header_never_raises_anything_else(
    tmp_path: Path, gguf_parts: Parts, at: int, junk: bytes
) -> None:
    path = model(gguf_parts, tmp_path / "m.gguf", data_bytes=300_000)
    data = bytearray(path.read_bytes())
    data[at : at + len(junk)] = junk
    path.write_bytes(data)
    try:
        read_model(path, LIMIT)
    except ModelShapeError:
        return


CONFIG = (
    '{"num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, '
    '"num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, '
    '"max_position_embeddings": 131072}'
)


def test_a_hugging_face_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(CONFIG, encoding="utf-8")
    shape = read_model(tmp_path, LIMIT).shape
    assert (shape.layers, shape.head_dim, shape.tied) == (32, 128, False)


@pytest.mark.parametrize(
    "config",
    [
        "", "[]", "{", "{}", "null", "9" * 5000,
        CONFIG.replace("32, ", "32.5, ", 1), CONFIG.replace("4096", "-4096"),
        CONFIG.replace('"num_attention_heads": 32', '"num_attention_heads": 0'),
        CONFIG.replace("128256", "1e999"), CONFIG.replace("14336", '"14336"'),
        CONFIG.replace("32", "true", 1), '{"text_config": 7}', "[" * 100_000,
        " " * 2_000_000 + CONFIG,
    ],
)  # fmt: skip
def test_an_absurd_config_is_refused(tmp_path: Path, config: str) -> None:
    (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(ModelShapeError):
        read_model(tmp_path, LIMIT)


def test_nothing_there_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.gguf"):
        with pytest.raises(ModelShapeError):
            read_model(path, LIMIT)
