"""Settings of the ``[training]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class TrainingSettings(Section):
    """The ``[training]`` table of ``appliance.toml``."""
