"""Settings of the ``[gateway]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class GatewaySettings(Section):
    """The ``[gateway]`` table of ``appliance.toml``."""
