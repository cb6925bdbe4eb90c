"""Settings of the ``[deid]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class DeidSettings(Section):
    """The ``[deid]`` table of ``appliance.toml``."""
