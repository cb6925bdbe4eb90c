"""`hardware bench`: memory, engine, disk and hashing, measured on this machine."""

from __future__ import annotations

import hashlib
import os
import secrets
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from appliance.core.durable import TEMP_PREFIX, os_errors
from appliance.core.progress import Progress
from appliance.hardware import formulas
from appliance.hardware.shape_files import ReadModel

_ARRAY_BYTES = 1 << 28  # 256 MiB in all: above any last-level cache but the largest servers'
_HASH_BYTES = 1 << 24
_FLUSHES = 64
_WRITE_BYTES = 1 << 22
_PROMPT_TOKENS = 512


class Engine(Protocol):
    """A loaded model that can be timed."""

    on_cards: bool

    def read_prompt(self, tokens: int) -> float:
        """Read a prompt of ``tokens`` from an empty cache; return seconds."""
        ...

    def generate(self, tokens: int) -> float:
        """Decode ``tokens`` one after the other; return seconds."""
        ...


@dataclass(frozen=True)
class MemorySpeed:
    """Bytes a second: copied (read and written both counted, as STREAM does) and read."""

    copy: float
    read: float


def memory_speed(seconds: float, threads: int | None = None) -> MemorySpeed:
    """Measure main memory with one thread a core (numpy lets go of the interpreter's lock)."""
    import numpy as np

    workers = threads or os.cpu_count() or 1
    words = _ARRAY_BYTES // workers // 8
    sources = [np.ones(words, dtype=np.int64) for _ in range(workers)]
    targets = [np.zeros_like(s) for s in sources]

    def copy(i: int) -> None:
        np.copyto(targets[i], sources[i])

    def read(i: int) -> None:
        sources[i].max()

    with ThreadPoolExecutor(workers) as pool:
        copied = _repeat(lambda: list(pool.map(copy, range(workers))), seconds)
        read_once = _repeat(lambda: list(pool.map(read, range(workers))), seconds)
    size = words * 8 * workers
    return MemorySpeed(copy=2 * size / copied, read=size / read_once)


def _repeat(action: Any, seconds: float) -> float:
    """Return the seconds of the fastest of the runs that fit in ``seconds`` (at least three)."""
    best = float("inf")
    end = time.perf_counter() + seconds
    rounds = 0
    while rounds < 3 or time.perf_counter() < end:  # noqa: PLR2004 - said above
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
        rounds += 1
    return best


def hash_speed(seconds: float) -> float:
    """Measure SHA-256 on one core, in bytes a second."""
    data = secrets.token_bytes(_HASH_BYTES)
    return _HASH_BYTES / _repeat(lambda: hashlib.sha256(data).digest(), seconds)


def disk_speed(folder: Path, size: int) -> tuple[float, float]:
    """Return bytes a second written and flushed, and flushes a second of 4 KiB appends.

    Uses fdatasync, as the audit log does. The file is removed afterwards.
    """
    path = folder / f"{TEMP_PREFIX}bench.{os.getpid()}.{secrets.token_hex(4)}"
    block = secrets.token_bytes(_WRITE_BYTES)
    with os_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            start = time.perf_counter()
            for _ in range(max(1, size // _WRITE_BYTES)):
                _write_all(fd, block)
            os.fdatasync(fd)
            written = max(1, size // _WRITE_BYTES) * _WRITE_BYTES / (time.perf_counter() - start)
            times = []
            for _ in range(_FLUSHES):
                start = time.perf_counter()
                _write_all(fd, block[:4096])
                os.fdatasync(fd)
                times.append(time.perf_counter() - start)
        finally:
            os.close(fd)
            path.unlink(missing_ok=True)
    return written, 1 / statistics.median(times)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


@dataclass(frozen=True)
class EngineSpeed:
    """What the engine met."""

    prompt_tokens_s: float
    generate_tokens_s: float
    read_bytes: float
    prompt_flops: float


def engine_speed(
    engine: Engine, model: ReadModel, seconds: float, progress: Progress
) -> EngineSpeed:
    """Measure prompt and generation speed; ``seconds`` bounds each from below."""
    prompt = min(_PROMPT_TOKENS, max(8, model.shape.context // 2))
    engine.read_prompt(prompt)
    took: list[float] = []
    while sum(took) < seconds or len(took) < 2:  # noqa: PLR2004 - the best of two at least
        took.append(engine.read_prompt(prompt))
        progress.update(min(sum(took), seconds), seconds, "prompt")
    batch = max(1, min(16, model.shape.context - prompt - 1))
    steps, spent = 0, 0.0
    while spent < seconds:
        spent += engine.generate(batch)
        steps += batch
        progress.update(min(spent, seconds), seconds, "tokens")
    best = min(took)
    return EngineSpeed(
        prompt_tokens_s=prompt / best,
        generate_tokens_s=steps / spent,
        read_bytes=read_bytes(model, prompt),
        prompt_flops=formulas.prompt_flops(model.shape, prompt) / best,
    )


def read_bytes(model: ReadModel, tokens: int) -> float:
    """Bytes read to decode one token: the weights but the embedding, and the cache so far."""
    shape = model.shape
    cache = formulas.cache_bytes_a_token(shape, "f16") * tokens
    stored = formulas.weights(shape, "F16")
    share = stored.read(shape) / stored.total
    total = model.tensor_bytes if model.tensor_bytes is not None else stored.total
    return total * share + cache
