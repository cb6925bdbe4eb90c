"""Settings of the ``[pipeline]`` table."""

from __future__ import annotations

from pydantic import Field

from appliance.core.settings.section import Section


class PipelineSettings(Section):
    """The ``[pipeline]`` table of ``appliance.toml``."""

    min_free_mb: int = Field(
        500,
        ge=50,
        description="Free space asked for before a run starts (MB): a toy run writes about "
        "150 MB, and a run that stops half-way for want of space helps nobody.",
    )
    synthetic_notes: int = Field(
        12,
        ge=1,
        le=10_000,
        description="Synthetic clinical notes with planted identifiers that the demo "
        "de-identifies (count): enough to show every kind once.",
    )
    answer_tokens: int = Field(
        64,
        ge=1,
        le=4096,
        description="Longest answer asked for in the demo (tokens): the toy has little to say.",
    )
