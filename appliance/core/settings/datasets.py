"""Settings of the ``[datasets]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class DatasetsSettings(Section):
    """The ``[datasets]`` table of ``appliance.toml``."""
