"""Settings of the ``[inference]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class InferenceSettings(Section):
    """The ``[inference]`` table of ``appliance.toml``."""
