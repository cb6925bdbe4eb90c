"""Settings of the ``[training]`` table."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from appliance.core.settings.section import Section


class TrainingSettings(Section):
    """The ``[training]`` table of ``appliance.toml``."""

    python: Path | None = Field(
        default=None,
        description=(
            "Path of the trainer environment's python. Unset: .venv-train beside the agent's own "
            "environment. The trainer has its own environment because parts of it are AGPL-3.0 "
            "and gigabytes large; the agent never imports it."
        ),
    )
    converter: Path | None = Field(
        default=None,
        description=(
            "Folder with convert_hf_to_gguf.py, convert_lora_to_gguf.py, conversion/ and gguf-py/ "
            "of the pinned llama.cpp. Unset: share/llama.cpp in the trainer environment. Carried, "
            "because a converter downloaded at need does not work offline."
        ),
    )
    device: Literal["auto", "cpu"] = Field(
        default="auto",
        description=(
            "Where the trainer computes: auto takes a CUDA card when torch sees one; cpu never "
            "does, to leave the cards to the service."
        ),
    )
    threads: int = Field(
        default=0,
        ge=0,
        le=1024,
        description=(
            "CPU threads of the trainer; 0 takes every core this process may use. More threads "
            "than cores slow the matrix products down."
        ),
    )
    stall_seconds: int = Field(
        default=900,
        ge=10,
        le=86_400,
        description=(
            "Seconds without a sign of life after which the trainer is stopped: one step of the "
            "largest shipped recipe takes under a minute, importing the trainer's packages on a "
            "slow disk a few; the rest is margin."
        ),
    )
    stop_seconds: int = Field(
        default=60,
        ge=1,
        le=3_600,
        description=(
            "Seconds a cancelled trainer has to write its checkpoint before it is killed: the "
            "largest shipped adapter with its optimiser state is 1 GB, seconds on any disk."
        ),
    )
    converter_seconds: int = Field(
        default=7_200,
        ge=10,
        le=86_400,
        description=(
            "Seconds one conversion to GGUF may take: a 70B model is 140 GB read and written, "
            "about 20 minutes on a SATA disk; the rest is margin for a busy one."
        ),
    )
