"""Settings of the ``[registry]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class RegistrySettings(Section):
    """The ``[registry]`` table of ``appliance.toml``."""
