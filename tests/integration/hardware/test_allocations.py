"""The plan's bytes against what llama.cpp really allocates, at toy size (within 5 %)."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.hardware import formulas
from appliance.hardware.shape_files import read_model

MIB = 1 << 20
# One process loads every case (starting one costs more than loading): case number to stderr, then
# llama.cpp's own log.
LOAD = """
import json, sys, llama_cpp
for i, (path, context, batch, flash, q8) in enumerate(json.loads(sys.argv[1])):
    print(f"=== {i}", file=sys.stderr, flush=True)
    kind = llama_cpp.GGML_TYPE_Q8_0 if q8 else llama_cpp.GGML_TYPE_F16
    model = llama_cpp.Llama(path, n_ctx=context, n_batch=batch, n_ubatch=batch, flash_attn=flash,
                            type_k=kind, type_v=kind, verbose=True)
    model.close()
"""
QUANTISE = """
import ctypes, sys, llama_cpp
for kind in sys.argv[3:]:
    wish = llama_cpp.llama_model_quantize_default_params()
    wish.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind)
    target = f"{sys.argv[2]}/{kind}.gguf".encode()
    if llama_cpp.llama_model_quantize(sys.argv[1].encode(), target, ctypes.byref(wish)):
        sys.exit(kind)
"""
# Proportions of real models: gated feed-forward 2.7 to 3.5 times as wide as the hidden state.
SMALL = {"layers": 4, "hidden": 512, "heads": 8, "kv_heads": 2, "head_dim": 64, "ffn": 1792,
         "vocab": 4096}  # fmt: skip
WIDE = {"layers": 2, "hidden": 768, "heads": 12, "kv_heads": 12, "head_dim": 64, "ffn": 2048,
        "vocab": 2048}  # fmt: skip
WORDY = {"layers": 2, "hidden": 512, "heads": 8, "kv_heads": 4, "head_dim": 64, "ffn": 1536,
         "vocab": 32000}  # fmt: skip


# Eight layers: some of each kind that gets more bits. Widths of 256: the K-quantisations' block.
TINY = {"layers": 8, "hidden": 256, "heads": 4, "kv_heads": 1, "head_dim": 64, "ffn": 768,
        "vocab": 512}  # fmt: skip
TOYS = {"small": SMALL, "wide": WIDE, "wordy": WORDY}
# toy, context, batch, flash attention, cache in q8_0
CASES = [
    ("small", 2048, 512, True, False),
    ("small", 2048, 512, True, True),
    ("small", 2048, 512, False, False),
    ("small", 8192, 512, True, False),
    ("wide", 1024, 256, True, False),
    ("wide", 1024, 512, True, True),
    ("wide", 1024, 512, False, False),
    ("wordy", 512, 512, True, False),
    ("wordy", 4096, 128, True, True),
    ("wordy", 4096, 128, False, False),
]
LOGGED = {
    "model": r"CPU\S* model buffer size =\s*([\d.]+) MiB",
    "cache": r"CPU KV buffer size =\s*([\d.]+) MiB",
    "compute": r"CPU compute buffer size =\s*([\d.]+) MiB",
}
Writer = Callable[[Path, dict[str, int]], Path]


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, gguf_writer: Writer) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("toys")
    return {name: gguf_writer(folder / f"{name}.gguf", shape) for name, shape in TOYS.items()}


@pytest.fixture(scope="module")
def allocated(toys: dict[str, Path]) -> list[dict[str, float]]:
    """MiB of model, cache and compute buffers of each case, as llama.cpp logs them."""
    asked = json.dumps([(str(toys[name]), *rest) for name, *rest in CASES])
    done = subprocess.run(
        [sys.executable, "-c", LOAD, asked],
        capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    logs = re.split(r"^=== \d+$", done.stderr, flags=re.MULTILINE)[1:]
    assert len(logs) == len(CASES)
    return [
        {key: float(re.findall(pattern, log)[0]) for key, pattern in LOGGED.items()} for log in logs
    ]


@pytest.mark.parametrize("number", range(len(CASES)), ids=[" ".join(map(str, c)) for c in CASES])
def test_the_formulas_agree_with_llama_cpp(
    toys: dict[str, Path], allocated: list[dict[str, float]], number: int
) -> None:
    name, context, batch, flash, q8 = CASES[number]
    read, real = read_model(toys[name], 10_000_000), allocated[number]
    kind = "q8_0" if q8 else "f16"
    weights = formulas.weights(read.shape, "F16").total
    assert weights == read.tensor_bytes
    assert weights / MIB == pytest.approx(real["model"], rel=0.05)
    cache = formulas.cache_bytes(read.shape, context, kind)
    assert cache / MIB == pytest.approx(real["cache"], rel=0.05)
    compute = formulas.compute_bytes(read.shape, context, batch=batch, flash=flash, cache=kind)
    assert compute / MIB == pytest.approx(real["compute"], rel=0.05)


def test_quantised_files_weigh_what_the_formula_says(tmp_path: Path, gguf_writer: Writer) -> None:
    source = gguf_writer(tmp_path / "f16.gguf", TINY)
    kinds = [q for q in formulas.QUANTISATIONS if q != "F16"]
    subprocess.run(
        [sys.executable, "-c", QUANTISE, source, tmp_path, *kinds],
        capture_output=True, check=True, timeout=300,
    )  # fmt: skip
    for kind in kinds:
        read = read_model(tmp_path / f"{kind}.gguf", 10_000_000)
        assert read.tensor_bytes == formulas.weights(read.shape, kind).total, kind
