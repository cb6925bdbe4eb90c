"""Settings of the ``[knowledge]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class KnowledgeSettings(Section):
    """The ``[knowledge]`` table of ``appliance.toml``."""
