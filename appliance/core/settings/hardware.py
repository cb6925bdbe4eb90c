"""Settings of the ``[hardware]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class HardwareSettings(Section):
    """The ``[hardware]`` table of ``appliance.toml``."""
