"""The base of every settings section: unknown keys are fatal, values are frozen."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of ``appliance.toml``.

    Every field is a named limit or choice; its description gives the unit and the reason for
    the value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
