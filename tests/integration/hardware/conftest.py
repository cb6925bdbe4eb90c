"""promtool, a toy GGUF that llama.cpp loads, and the command line as a process."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus's rule checker: from PATH, else unpacked from the distribution's package."""
    found = shutil.which("promtool")
    if found:
        return found
    tools = ROOT / ".run" / "tools"
    kept = tools / "promtool"
    if not kept.is_file():
        tools.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(
            ["apt-get", "download", "prometheus"],
            cwd=tools, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        packages = sorted(tools.glob("prometheus_*.deb"))
        if got.returncode or not packages:
            pytest.fail("expected promtool: install the package prometheus")
        unpacked = tools / "unpacked"
        subprocess.run(["dpkg", "-x", packages[-1], unpacked], check=True, timeout=120)
        shutil.move(unpacked / "usr" / "bin" / "promtool", kept)
        shutil.rmtree(unpacked)
        packages[-1].unlink()
    return str(kept)


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def _pair(key: str, value: Any) -> bytes:
    head = _text(key)
    if isinstance(value, str):
        return head + struct.pack("<I", 8) + _text(value)
    if isinstance(value, float):
        return head + struct.pack("<If", 6, value)
    if isinstance(value, int):
        return head + struct.pack("<II", 4, value)
    if isinstance(value[0], str):
        return head + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_text, value))
    kind, code = (6, "f") if isinstance(value[0], float) else (5, "i")
    packed = struct.pack(f"<{len(value)}{code}", *value)
    return head + struct.pack("<IIQ", 9, kind, len(value)) + packed


def write_gguf(path: Path, shape: dict[str, int]) -> Path:
    """Write a llama of random fp16 weights and a vocabulary of bytes."""
    hidden, vocab, ffn = shape["hidden"], shape["vocab"], shape["ffn"]
    q, kv = shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
    words = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))]
    words += [f"word{i}" for i in range(vocab - len(words))]
    keys: dict[str, Any] = {
        "general.architecture": "llama", "general.name": "toy",
        "llama.block_count": shape["layers"], "llama.context_length": 8192,
        "llama.embedding_length": hidden, "llama.feed_forward_length": ffn,
        "llama.attention.head_count": shape["heads"],
        "llama.attention.head_count_kv": shape["kv_heads"],
        "llama.attention.key_length": shape["head_dim"],
        "llama.attention.value_length": shape["head_dim"],
        "llama.rope.dimension_count": shape["head_dim"],
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "llama.vocab_size": vocab,
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.scores": [0.0] * vocab,
        "tokenizer.ggml.token_type": [2, 3, 3, *([6] * 256), *([1] * (vocab - 259))],
        "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
    }  # fmt: skip
    sides: dict[str, tuple[int, ...]] = {
        "token_embd": (hidden, vocab), "output": (hidden, vocab), "output_norm": (hidden,),
    }  # fmt: skip
    for i in range(shape["layers"]):
        block: dict[str, tuple[int, ...]] = {
            "attn_norm": (hidden,), "ffn_norm": (hidden,), "attn_q": (hidden, q),
            "attn_k": (hidden, kv), "attn_v": (hidden, kv), "attn_output": (q, hidden),
            "ffn_gate": (hidden, ffn), "ffn_up": (hidden, ffn), "ffn_down": (ffn, hidden),
        }  # fmt: skip
        sides |= {f"blk.{i}.{name}": value for name, value in block.items()}
    random = np.random.default_rng(7)
    infos, bodies, offset = b"", [], 0
    for name, value in sides.items():
        flat = len(value) == 1
        data = (random.standard_normal(int(np.prod(value))) * 0.05).astype(
            np.float32 if flat else np.float16
        ).tobytes()  # fmt: skip
        infos += _text(f"{name}.weight") + struct.pack("<I", len(value))
        infos += b"".join(struct.pack("<Q", v) for v in value)
        infos += struct.pack("<IQ", 0 if flat else 1, offset)
        bodies.append(data + b"\0" * (-len(data) % 32))
        offset += len(bodies[-1])
    head = b"GGUF" + struct.pack("<IQQ", 3, len(sides), len(keys))
    head += b"".join(_pair(k, v) for k, v in keys.items()) + infos
    path.write_bytes(head + b"\0" * (-len(head) % 32) + b"".join(bodies))
    return path


@pytest.fixture(scope="session")
def gguf_writer() -> Callable[[Path, dict[str, int]], Path]:
    """The writer of toy models."""
    return write_gguf


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., tuple[int, Any, str]]:
    """Run ``appliance hardware ...`` as its own process; return code, JSON (or text) and errors."""

    def call(*arguments: str, path: str | None = None) -> tuple[int, Any, str]:
        environment = dict(os.environ, APPLIANCE_HOME=str(tmp_path / "home"), LANG="C")
        if path is not None:
            environment["PATH"] = path
        done = subprocess.run(
            [sys.executable, "-m", "appliance", "hardware", *arguments],
            capture_output=True, text=True, env=environment, check=False, timeout=120,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        as_json = "--json" in arguments and done.stdout.startswith("{")
        return done.returncode, json.loads(done.stdout) if as_json else done.stdout, done.stderr

    return call
