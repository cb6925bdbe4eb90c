"""Settings of the ``[console]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class ConsoleSettings(Section):
    """The ``[console]`` table of ``appliance.toml``."""
