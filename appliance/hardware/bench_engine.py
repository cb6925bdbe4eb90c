"""The real engine under the stopwatch: llama.cpp in this process."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from appliance.core.errors.hardware import ModelShapeError

_TOKEN = 1  # any token: the arithmetic is the same


class LlamaEngine:
    """A GGUF file loaded by llama-cpp-python, with every layer on the cards where there are any."""

    def __init__(self, path: Path, context: int) -> None:
        """Load ``path`` with a cache of ``context`` tokens; raise ``ModelShapeError``."""
        import llama_cpp

        self.on_cards = bool(llama_cpp.llama_supports_gpu_offload())
        try:
            self._model: Any = llama_cpp.Llama(
                str(path),
                n_ctx=context,
                n_batch=512,
                n_ubatch=512,
                n_gpu_layers=-1 if self.on_cards else 0,
                flash_attn=True,
                verbose=False,
            )
        except (ValueError, RuntimeError) as error:
            raise ModelShapeError(
                expected=f"a model llama.cpp can load at {path}", found="it refused the file"
            ) from error

    def read_prompt(self, tokens: int) -> float:
        """Read a prompt of ``tokens`` from an empty cache; return seconds."""
        self._model.reset()
        start = time.perf_counter()
        self._model.eval([_TOKEN] * tokens)
        return time.perf_counter() - start

    def generate(self, tokens: int) -> float:
        """Decode ``tokens`` one after the other; return seconds."""
        if self._model.n_tokens + tokens >= self._model.n_ctx():
            self._model.n_tokens -= tokens
        start = time.perf_counter()
        for _ in range(tokens):
            self._model.eval([_TOKEN])
        return time.perf_counter() - start

    def close(self) -> None:
        """Free the model."""
        self._model.close()
