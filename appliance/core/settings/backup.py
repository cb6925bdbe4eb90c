"""Settings of the ``[backup]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class BackupSettings(Section):
    """The ``[backup]`` table of ``appliance.toml``."""
