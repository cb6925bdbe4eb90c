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
    runner: Literal["process", "container", "attached"] = Field(
        default="process",
        description=(
            "Where the trainer runs: as a process in its own environment, in a container of the "
            "proven trainer image that the agent starts, or attached: in the compose file's "
            "trainer service, which takes up what an agent without rights to the engine offers."
        ),
    )
    image: str = Field(
        default="",
        description=(
            "The trainer image's image_id (sha256: and 64 hexadecimal digits), as its proof "
            "prints it; no default, so that no other image is ever taken for it."
        ),
    )
    container_user: tuple[int, int] = Field(
        default=(10001, 10000),
        description=(
            "User and group id of the trainer's container when root starts it; the owner of the "
            "appliance's state. Any other user's containers run as that user."
        ),
    )
    memory_mb: int = Field(
        default=49_152,
        ge=256,
        description=(
            "Memory of the trainer's container in MiB, without swap: 48 GiB hold an 8B base in "
            "16 bits with its adapter's optimiser and leave the rest to the services."
        ),
    )
    pids: int = Field(
        default=1_024,
        ge=16,
        description=(
            "Processes and threads of the trainer's container: torch starts a few for each core."
        ),
    )
    gpus: tuple[str, ...] = Field(
        default=(),
        description=(
            "Cards for the trainer's container: CDI names (nvidia.com/gpu=0), numbers, or all. "
            "Empty gives none, because the cards may belong to the service."
        ),
    )
    seccomp: Path | None = Field(
        default=None,
        description=(
            "Seccomp profile of the trainer's container (security/seccomp/appliance.json of the "
            "bundle). Unset: the engine's own, which allows some calls more."
        ),
    )
    apparmor: str = Field(
        default="",
        description=(
            "AppArmor profile of the trainer's container (appliance-service) on hosts that have "
            "it loaded; empty uses the engine's own."
        ),
    )
