"""Settings of the ``[registry]`` table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appliance.core.settings.section import Section


class RegistrySettings(Section):
    """The ``[registry]`` table of ``appliance.toml``."""

    approval: Literal["demo", "four_eyes"] = Field(
        default="demo",
        description=(
            "Who must agree to a promotion. four_eyes: two different people, as a hospital needs; "
            "demo: one, as on a developer's machine. The mode is written into each promotion."
        ),
    )
    max_header_bytes: int = Field(
        default=100_000_000,
        ge=1_000,
        le=1_000_000_000,
        description=(
            "Bytes of a safetensors header or of GGUF metadata that are read: the format's own "
            "limit for safetensors; the largest vocabularies need about 15 MB in GGUF."
        ),
    )
    max_tensors: int = Field(
        default=100_000,
        ge=1,
        le=10_000_000,
        description="Tensors one file may name: a 405B model has about 1,200; the rest is margin.",
    )
    max_metadata_keys: int = Field(
        default=10_000,
        ge=1,
        le=1_000_000,
        description="Metadata keys a GGUF file may hold: real ones have under a hundred.",
    )
    max_metadata_items: int = Field(
        default=4_000_000,
        ge=1,
        le=100_000_000,
        description=(
            "Items one GGUF metadata array may hold: the largest vocabulary in use has 262,144 "
            "tokens and about as many merges; the rest is margin."
        ),
    )
    max_template_bytes: int = Field(
        default=65_536,
        ge=100,
        le=1_000_000,
        description=(
            "Bytes of a chat template: real ones have up to 10 kB, and a template is a program "
            "that runs at every request."
        ),
    )
    max_model_bytes: int = Field(
        default=400_000_000_000,
        ge=1_000,
        le=10_000_000_000_000,
        description=(
            "Bytes of one imported model: a 70B model in 16 bits has 141 GB; the target machine's "
            "disk has 2 TB."
        ),
    )
