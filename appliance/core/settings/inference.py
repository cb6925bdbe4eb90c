"""Settings of the ``[inference]`` table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from appliance.core.settings.section import Section


class InferenceSettings(Section):
    """The ``[inference]`` table of ``appliance.toml``."""

    engine: Literal["embedded", "llama-server", "attached", "upstream"] = Field(
        "embedded",
        description="Which engine answers: embedded needs nothing else and runs one request at a "
        "time; llama-server batches many; attached is llama-server in the inference container; "
        "upstream is another OpenAI-compatible server.",
    )
    attached_folder: Path = Field(
        Path("/run/engine"),
        description="The folder shared with the inference container; only used with engine = "
        "'attached'. The gateway says there which model is wanted and finds the socket there.",
    )
    attached_notice_s: float = Field(
        15.0,
        gt=0,
        description="Seconds in which the inference container takes up what is wanted, else it is "
        "taken as not running and asked again at the next look at the log: ending the model before "
        "takes 10 s at most. Meanwhile the gateway listens and says it is not ready.",
    )
    context_tokens: int = Field(
        2048,
        ge=64,
        le=1_048_576,
        description="Tokens of prompt and answer together, for one request; the key-value cache "
        "grows with it (320 KiB a token for a 70B model in fp16).",
    )
    batch_tokens: int = Field(
        512,
        ge=16,
        le=8192,
        description="Tokens decoded at once while a prompt is read; more is faster and needs more "
        "memory (the logits of a batch are held: tokens x vocabulary x 4 bytes).",
    )
    threads: int = Field(
        0,
        ge=0,
        le=1024,
        description="Processor threads of the engine; 0 takes every core this process may use, or "
        "one for a model smaller than one_thread_below_mb.",
    )
    one_thread_below_mb: int = Field(
        64,
        ge=0,
        description="Megabytes of a base GGUF below which one thread is used: llama.cpp's threads "
        "wait for each other in a spin, which costs more than a toy's arithmetic, and a hundred "
        "times more when the cores are shared with other work.",
    )
    gpu_layers: int = Field(
        -1,
        ge=-1,
        description="Layers kept on the GPU; -1 is all of them, and has no effect without a GPU.",
    )
    parallel_requests: int = Field(
        8,
        ge=1,
        le=256,
        description="Requests llama-server decodes together; each holds context_tokens of cache. "
        "Throughput on 2 cores was highest at 8.",
    )
    server_binary: Path | None = Field(
        None,
        description="The llama-server program; not set: looked for on PATH.",
    )
    start_timeout_s: float = Field(
        300.0,
        gt=0,
        description="Seconds llama-server may take to load: 42 GB at 0.2 GB/s from a cold disk.",
    )
    stop_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Seconds between asking llama-server to stop and ending it.",
    )
    restart_limit: int = Field(
        5,
        ge=0,
        le=100,
        description="Crashes within restart_window_s after which llama-server is left stopped: a "
        "model that crashes at once would otherwise restart for ever.",
    )
    restart_window_s: float = Field(
        300.0, gt=0, description="Seconds over which restarts are counted."
    )
    upstream_url: str = Field(
        "",
        description="Base URL (ending in /v1) of the upstream engine; only used with engine = "
        "'upstream'. Empty: none.",
    )
    upstream_model: str = Field(
        "", description="The model name the upstream knows; it must be the promoted model."
    )
    upstream_key_file: Path | None = Field(
        None, description="File with the upstream's API key (one line); not set: no key is sent."
    )
    silence_timeout_s: float = Field(
        120.0,
        gt=0,
        description="Seconds without a byte from llama-server or the upstream before giving up; "
        "reading a long prompt is the longest silence.",
    )
