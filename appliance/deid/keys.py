"""The pseudonym key: made here on first use, never leaves, one a project."""

from __future__ import annotations

import os
import secrets
import stat
from typing import Final

from appliance.core.durable import exclusive, os_errors, write_bytes
from appliance.core.errors import PseudonymKeyError
from appliance.core.home import Home

KEY_BYTES: Final = 32


def project_key(home: Home, project: str) -> bytes:
    """Return the key of ``project``, made at its first use (mode 0600).

    Raises ``PseudonymKeyError`` when others may read it or when it is not 32 bytes: a key that
    was lost or changed would silently give everyone another pseudonym.
    """
    path = home.keys / f"pseudonym-{project}.key"
    if not path.exists():
        with exclusive(home.run / f"pseudonym-{project}.lock", what="making of a pseudonym key"):
            if not path.exists():
                with os_errors(path):
                    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                write_bytes(path, secrets.token_bytes(KEY_BYTES), mode=0o600)
    with os_errors(path):
        found = path.stat()
        key = path.read_bytes()
    if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO) or found.st_uid not in {os.geteuid(), 0}:
        raise PseudonymKeyError(
            expected=f"{path} with mode 0600, of this user",
            found=f"mode {stat.S_IMODE(found.st_mode):04o}, user {found.st_uid}",
        )
    if len(key) != KEY_BYTES:
        raise PseudonymKeyError(expected=f"{KEY_BYTES} bytes in {path}", found=f"{len(key)} bytes")
    return key
