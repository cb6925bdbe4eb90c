"""Settings of the ``[evaluation]`` table."""

from __future__ import annotations

from pydantic import Field

from appliance.core.settings.section import Section


class EvaluationSettings(Section):
    """The ``[evaluation]`` table of ``appliance.toml``."""

    max_records: int = Field(
        200,
        ge=0,
        description="Records of a kind that are measured, the same ones each time (chosen by the "
        "hash of their id); 0 measures all. 200 give a 95 % interval of about +-7 points.",
    )
    generated_answers: int = Field(
        20,
        ge=0,
        description="Answers written out and compared with the reference (ROUGE); writing is far "
        "slower than scoring. 0 leaves it out.",
    )
    generated_tokens: int = Field(
        64, ge=1, le=4096, description="Tokens of a written answer, at most."
    )
    bootstrap_samples: int = Field(
        1000,
        ge=100,
        le=100_000,
        description="Resamples of an interval; 1,000 fix the second digit of its ends.",
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1.0, description="Share of resamples inside an interval (0 to 1)."
    )
    seed: int = Field(20_261, ge=0, lt=2**32, description="Seed of the resampling.")
