"""Settings of the ``[deid]`` table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from appliance.core.settings.section import Section


class DeidSettings(Section):
    """The ``[deid]`` table of ``appliance.toml``."""

    threshold: float = Field(
        default=0.5,
        gt=0,
        le=1.0,
        description="Score from which a span is replaced: a bare number with wrong check digits "
        "scores below it, one with a label or a telling form above.",
    )
    project: str = Field(
        default="default",
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="Name of the pseudonym key. One key a project: the same patient has other "
        "pseudonyms in another project, so two exports cannot be joined.",
    )
    style: Literal["token", "surrogate"] = Field(
        default="token",
        description="What stands for an identifier: a token like [CPF:1f3a...], plain to see, or "
        "a made-up value of the same form, closer to what the model will read in service.",
    )
    dates: Literal["year", "shift", "token"] = Field(
        default="year",
        description="What stands for a date: its year (HIPAA Safe Harbor keeps no more), the date "
        "moved by the same days for a patient (keeps intervals), or a token.",
    )
    shift_days: int = Field(
        default=365,
        ge=30,
        le=3650,
        description="Days a date is moved at most, either way: a year hides season and birthday.",
    )
    pseudonym_bytes: int = Field(
        default=6,
        ge=4,
        le=16,
        description="Bytes of a pseudonym: with 6 a million patients have one chance in 500 of "
        "any two sharing one.",
    )
    name_model: str = Field(
        default="",
        description="Folder of a spaCy model that finds names without a label; empty uses the "
        "labelled names only.",
    )
