"""Settings of the ``[host]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class HostSettings(Section):
    """The ``[host]`` table of ``appliance.toml``."""
