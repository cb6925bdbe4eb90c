"""The promoted hash, from the audit log."""

from __future__ import annotations

from appliance.core.home import Home
from appliance.registry.promotionlog import AuditPromotionLog
from appliance.registry.promotions import Promotions


class AuditPromoted:
    """Asks the audit log which hash is in service."""

    def __init__(self, home: Home) -> None:
        """Read the log of ``home``."""
        self._promotions = Promotions(AuditPromotionLog(home))

    def current_hash(self) -> str | None:
        """Return the hash of the last promotion or roll-back that succeeded."""
        current = self._promotions.current()
        return current.hash if current is not None else None
