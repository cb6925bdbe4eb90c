"""Settings of the ``[evaluation]`` table."""

from __future__ import annotations

from appliance.core.settings.section import Section


class EvaluationSettings(Section):
    """The ``[evaluation]`` table of ``appliance.toml``."""
