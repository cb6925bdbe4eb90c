"""Settings of the ``[bundle]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class BundleSettings(Section):
    """The ``[bundle]`` table of ``appliance.toml``."""
