"""The plan's bytes against what llama.cpp really allocates, at toy size (within 5 %)."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.hardware import formulas
from appliance.hardware.shape_files import read_model

MIB = 1 << 20
LOAD = (
    "import sys, llama_cpp\n"
    "p, ctx, ub, fa, q8 = sys.argv[1], *map(int, sys.argv[2:])\n"
    "kind = llama_cpp.GGML_TYPE_Q8_0 if q8 else llama_cpp.GGML_TYPE_F16\n"
    "llama_cpp.Llama(p, n_ctx=ctx, n_batch=ub, n_ubatch=ub, flash_attn=bool(fa),\n"
    "                type_k=kind, type_v=kind, verbose=True)\n"
)
# Proportions of real models: gated feed-forward 2.7 to 3.5 times as wide as the hidden state.
SMALL = {"layers": 4, "hidden": 512, "heads": 8, "kv_heads": 2, "head_dim": 64, "ffn": 1792,
         "vocab": 4096}  # fmt: skip
WIDE = {"layers": 2, "hidden": 768, "heads": 12, "kv_heads": 12, "head_dim": 64, "ffn": 2048,
        "vocab": 2048}  # fmt: skip
WORDY = {"layers": 2, "hidden": 512, "heads": 8, "kv_heads": 4, "head_dim": 64, "ffn": 1536,
         "vocab": 32000}  # fmt: skip


def allocated(path: Path, context: int, batch: int, *, flash: bool, q8: bool) -> dict[str, float]:
    """Return MiB of model, cache and compute buffers as llama.cpp logs them."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, path, str(context), str(batch), str(int(flash)), str(int(q8))],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip
    found = {}
    for key, pattern in {
        "model": r"CPU\S* model buffer size =\s*([\d.]+) MiB",
        "cache": r"CPU KV buffer size =\s*([\d.]+) MiB",
        "compute": r"CPU compute buffer size =\s*([\d.]+) MiB",
    }.items():
        match = re.search(pattern, done.stderr)
        assert match, f"{key} not in llama.cpp's log"
        found[key] = float(match.group(1))
    return found


@pytest.mark.parametrize(
    ("shape", "context", "batch", "flash", "q8"),
    [
        (SMALL, 2048, 512, True, False),
        (SMALL, 2048, 512, True, True),
        (SMALL, 2048, 512, False, False),
        (SMALL, 8192, 512, True, False),
        (WIDE, 1024, 256, True, False),
        (WIDE, 1024, 512, False, False),
        (WORDY, 512, 512, True, False),
        (WORDY, 4096, 128, False, False),
    ],
)
def test_the_formulas_agree_with_llama_cpp(
    tmp_path: Path,
    gguf_writer: Callable[[Path, dict[str, int]], Path],
    shape: dict[str, int],
    context: int,
    batch: int,
    flash: bool,  # noqa: FBT001 - a case's own switch
    q8: bool,  # noqa: FBT001 - the same
) -> None:
    path = gguf_writer(tmp_path / "toy.gguf", shape)
    read = read_model(path, 10_000_000)
    real = allocated(path, context, batch, flash=flash, q8=q8)
    weights = formulas.weights(read.shape, "F16").total
    assert weights == read.tensor_bytes
    assert weights / MIB == pytest.approx(real["model"], rel=0.05)
    cache = formulas.cache_bytes(read.shape, context, "q8_0" if q8 else "f16")
    assert cache / MIB == pytest.approx(real["cache"], rel=0.05)
    compute = formulas.compute_bytes(read.shape, context, batch=batch, flash=flash)
    assert compute / MIB == pytest.approx(real["compute"], rel=0.05)


@pytest.mark.parametrize("quantisation", ["Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "Q2_K", "Q3_K_M"])
def test_a_quantised_file_weighs_what_the_formula_says(
    tmp_path: Path,
    gguf_writer: Callable[[Path, dict[str, int]], Path],
    quantisation: str,
) -> None:
    source = gguf_writer(tmp_path / "f16.gguf", SMALL | {"layers": 16})
    target = tmp_path / "small.gguf"
    code = (
        "import sys, llama_cpp\n"
        "p = llama_cpp.llama_model_quantize_default_params()\n"
        "p.ftype = getattr(llama_cpp, 'LLAMA_FTYPE_MOSTLY_' + sys.argv[3])\n"
        "import ctypes\n"
        "sys.exit(llama_cpp.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(),"
        " ctypes.byref(p)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, source, target, quantisation],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-500:]
    read = read_model(target, 10_000_000)
    assert read.tensor_bytes == formulas.weights(read.shape, quantisation).total
