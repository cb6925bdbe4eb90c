"""Which key store the settings name."""

from __future__ import annotations

from pathlib import Path

from appliance.audit.keys import FileKeys, KeyStore
from appliance.core.settings.audit import AuditSettings


def key_store(audit: Path, settings: AuditSettings) -> KeyStore:
    """Return the key store of ``audit.key``."""
    if settings.key == "pkcs11":
        from appliance.audit.keys_pkcs11 import HsmKeys

        return HsmKeys(settings)
    if settings.key == "tpm2":
        from appliance.audit.keys_tpm2 import TpmKeys

        return TpmKeys(audit, settings)
    return FileKeys(audit)
