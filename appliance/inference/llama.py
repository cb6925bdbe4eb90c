"""The few calls of llama.cpp's C API that the embedded engine needs, with Python types.

llama-cpp-python's high level is left aside on purpose: it reads the GGUF's own chat template,
keeps the last prompt in its cache for the next caller, and holds the logits of the whole
context when token probabilities are wanted (2 GiB for 4,096 tokens of a 128,000-word vocabulary).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from appliance.core.errors import EngineUnavailableError
from appliance.core.settings.inference import InferenceSettings
from appliance.inference.engine import Sampling

PIECE_BYTES = 1024  # the longest token of any published vocabulary is far shorter
PENALTY_TOKENS = 256  # how far back repetition is counted; llama.cpp's own default is 64
SPECIAL_AS_TEXT = False  # a control token has no text
CLEAR_BYTES = True  # also overwrite the cache, not only its index


class LlamaContext:
    """One loaded model with one sequence. Not safe for several threads at once."""

    def __init__(self, model: Path, adapter: Path | None, settings: InferenceSettings) -> None:
        """Load ``model`` (and the LoRA ``adapter`` over it); ``settings`` name the threads."""
        import llama_cpp

        self.batch_tokens = min(settings.batch_tokens, settings.context_tokens)
        self._lib: Any = llama_cpp
        try:
            self._llama: Any = llama_cpp.Llama(
                model_path=str(model),
                lora_path=str(adapter) if adapter else None,
                n_ctx=settings.context_tokens,
                n_batch=self.batch_tokens,
                n_ubatch=self.batch_tokens,
                n_threads=settings.threads,
                n_threads_batch=settings.threads,
                n_gpu_layers=settings.gpu_layers,
                chat_format="pinned-elsewhere",
                verbose=False,
            )
        except (ValueError, RuntimeError) as error:
            raise EngineUnavailableError(
                expected="a GGUF model (and adapter) that llama.cpp loads",
                found=f"{type(error).__name__} while loading {model.name}",
            ) from error
        self._vocab: Any = llama_cpp.llama_model_get_vocab(self._llama.model)
        self.vocabulary: int = self._llama.n_vocab()
        self.context_tokens: int = self._llama.n_ctx()
        self._batch: Any = llama_cpp.llama_batch_init(self.batch_tokens, 0, 1)
        self._piece: Any = ctypes.create_string_buffer(PIECE_BYTES)
        self._used = 0

    def tokenize(self, text: str, *, special: bool = False) -> list[int]:
        """Return the tokens of ``text``, without a begin-of-text token."""
        tokens: list[int] = self._llama.tokenize(text.encode(), add_bos=False, special=special)
        return tokens

    def begin(self) -> list[int]:
        """Return the begin-of-text token, if the model wants one."""
        if not self._lib.llama_vocab_get_add_bos(self._vocab):
            return []
        return [int(self._lib.llama_vocab_bos(self._vocab))]

    def is_end(self, token: int) -> bool:
        """Say whether ``token`` ends an answer."""
        return bool(self._lib.llama_vocab_is_eog(self._vocab, token))

    def piece(self, token: int) -> bytes:
        """Return the bytes of ``token``; special tokens have none."""
        size = self._lib.llama_token_to_piece(
            self._vocab, token, self._piece, PIECE_BYTES, 0, SPECIAL_AS_TEXT
        )
        return bytes(self._piece.raw[: max(0, size)])

    def clear(self) -> None:
        """Forget the sequence, also its bytes: nothing of one caller is left for the next."""
        self._lib.llama_memory_clear(self._lib.llama_get_memory(self._llama.ctx), CLEAR_BYTES)
        self._used = 0

    def rewind(self, tokens: int) -> None:
        """Forget what was read after the first ``tokens``."""
        memory = self._lib.llama_get_memory(self._llama.ctx)
        if not self._lib.llama_memory_seq_rm(memory, 0, tokens, -1):
            raise EngineUnavailableError(
                expected="a model whose cache can be cut", found="a recurrent one"
            )
        self._used = tokens

    def decode(self, tokens: Sequence[int], rows_from: int) -> Iterator[npt.NDArray[np.float32]]:
        """Read ``tokens`` after what was read; yield the logits that follow those from
        ``rows_from`` on, batch by batch, shape (rows, vocabulary). The arrays are reused.
        """  # noqa: D205 - one sentence
        batch = self._batch
        for start in range(0, len(tokens), self.batch_tokens):
            part = tokens[start : start + self.batch_tokens]
            batch.n_tokens = len(part)
            rows = 0
            for i, token in enumerate(part):
                batch.token[i] = token
                batch.pos[i] = self._used + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                wanted = start + i >= rows_from
                batch.logits[i] = wanted
                rows += wanted
            code = self._lib.llama_decode(self._llama.ctx, batch)
            if code != 0:
                raise EngineUnavailableError(
                    expected="llama.cpp to decode a batch", found=f"llama_decode code {code}"
                )
            self._used += len(part)
            if rows:
                pointer = self._lib.llama_get_logits(self._llama.ctx)
                yield np.ctypeslib.as_array(pointer, shape=(rows, self.vocabulary))

    def sampler(self, sampling: Sampling) -> Any:
        """Return a llama.cpp sampler chain for ``sampling``; free it with :meth:`free_sampler`."""
        lib = self._lib
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        if sampling.frequency_penalty or sampling.presence_penalty:
            lib.llama_sampler_chain_add(
                chain,
                lib.llama_sampler_init_penalties(
                    self.vocabulary,
                    PENALTY_TOKENS,
                    1.0,
                    sampling.frequency_penalty,
                    sampling.presence_penalty,
                ),
            )
        if sampling.temperature <= 0:
            lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
            return chain
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(sampling.top_p, 1))
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(sampling.temperature))
        seed = lib.LLAMA_DEFAULT_SEED if sampling.seed is None else sampling.seed
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(seed))
        return chain

    def free_sampler(self, chain: Any) -> None:
        """Free what :meth:`sampler` made."""
        self._lib.llama_sampler_free(chain)

    def sample(self, chain: Any) -> int:
        """Draw the next token from the last logits."""
        return int(self._lib.llama_sampler_sample(chain, self._llama.ctx, -1))

    def close(self) -> None:
        """Free the model."""
        self._lib.llama_batch_free(self._batch)
        self._llama.close()
