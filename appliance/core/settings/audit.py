"""Settings of the ``[audit]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class AuditSettings(Section):
    """The ``[audit]`` table of ``appliance.toml``."""
