"""Settings of the ``[pipeline]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class PipelineSettings(Section):
    """The ``[pipeline]`` table of ``appliance.toml``."""
