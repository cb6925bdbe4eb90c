"""Patients stand in the log under a keyed pseudonym, never under their number.

A pseudonym is ``p<version>-`` and 26 letters: HMAC-SHA-256 of the patient's number, cut to 128
bits. Without the key a number can be neither read from it nor tried against it; with the key an
officer finds a patient's entries without the number being stored anywhere. Keys have versions, so
that one can be replaced; older ones are kept to find older entries.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import unicodedata
from pathlib import Path
from typing import Final

from appliance.audit.erase import create_once
from appliance.core.durable import os_errors
from appliance.core.errors import StateDamagedError
from appliance.core.home import Home

KEY_BYTES: Final = 32
TAG_BYTES: Final = 16  # 128 bits: two of a billion patients collide with probability 1e-21
_DOMAIN: Final = b"hospital-appliance patient pseudonym\x00"
_KEY_NAME: Final = re.compile(r"pseudonym-([1-9][0-9]{0,3})\.key")
_PSEUDONYM: Final = re.compile(r"p[1-9][0-9]{0,3}-[a-z2-7]{26}")


def normalise(patient_id: str) -> str:
    """Return one spelling of a patient's number: no separators, no case, no width variants.

    ``123.456-7`` and ``1234567`` are the same patient; leading zeroes are kept, since they tell
    record numbers apart in many systems. Raises ``ValueError`` when nothing is left.
    """
    plain = unicodedata.normalize("NFKC", patient_id).casefold()
    kept = "".join(c for c in plain if c.isalnum())
    if not kept:
        raise ValueError("a patient number has letters or digits")
    return kept


def tag(key: bytes, version: int, patient_id: str) -> str:
    """Return the pseudonym of ``patient_id`` under one key."""
    mac = hmac.new(key, _DOMAIN + normalise(patient_id).encode(), hashlib.sha256).digest()
    letters = base64.b32encode(mac[:TAG_BYTES]).decode().rstrip("=").lower()
    return f"p{version}-{letters}"


def is_pseudonym(text: str) -> bool:
    """Say whether ``text`` has the form of a pseudonym."""
    return _PSEUDONYM.fullmatch(text) is not None


class Pseudonyms:
    """The pseudonym keys of one home, in ``keys/`` (each file mode 0600)."""

    def __init__(self, home: Home) -> None:
        self.folder = home.keys

    def versions(self) -> dict[int, Path]:
        """Return the key files by version, oldest first."""
        found = {}
        if self.folder.is_dir():
            for path in self.folder.iterdir():
                match = _KEY_NAME.fullmatch(path.name)
                if match:
                    found[int(match[1])] = path
        return dict(sorted(found.items()))

    def pseudonym(self, patient_id: str) -> str:
        """Return the pseudonym under the newest key, which is made when there is none."""
        versions = self.versions() or {1: self._create(1)}
        newest = max(versions)
        return tag(self._read(versions[newest]), newest, patient_id)

    def candidates(self, patient_id: str) -> list[str]:
        """Return the pseudonyms of a patient under every key: what to look for in the log."""
        return [tag(self._read(path), v, patient_id) for v, path in self.versions().items()]

    def rotate(self) -> int:
        """Make a new key; entries from now on carry its version. Returns the version."""
        version = max(self.versions(), default=0) + 1
        self._create(version)
        return version

    def _create(self, version: int) -> Path:
        path = self.folder / f"pseudonym-{version}.key"
        create_once(path, secrets.token_bytes(KEY_BYTES))
        return path

    def _read(self, path: Path) -> bytes:
        with os_errors(path):
            key = path.read_bytes()
        if len(key) != KEY_BYTES:
            raise StateDamagedError(
                expected=f"a key of {KEY_BYTES} bytes in {path.name}", found=f"{len(key)} bytes"
            )
        return key
