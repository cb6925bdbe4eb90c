"""Detail that can be forgotten: encrypted in the log under a key that can be destroyed.

Where a detail about a person must be kept, it goes into the event's ``sealed`` member: AES-256-GCM
under a random key of that subject, which lies outside the log. ``erase`` logs its intent, destroys
the key and logs the outcome (LGPD Art. 18 VI). The entries stay byte for byte as they were, so
every proof still verifies; what they say can no longer be read by anybody.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.audit.guard import Scalar
from appliance.audit.note import b64decode, b64encode
from appliance.audit.recorder import Recorder
from appliance.core.canonical import canonical_json
from appliance.core.durable import (
    TEMP_PREFIX,
    exclusive,
    fsync_dir,
    os_errors,
    write_bytes,
    write_json,
)
from appliance.core.errors import InputMissingError
from appliance.core.errors.audit import AuditEntryUnavailableError, AuditSubjectErasedError
from appliance.core.home import Home

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12  # GCM's own nonce length; random, one key seals far fewer than 2^32 details
ACTION: Final = "audit.erase"
_SEALED: Final = re.compile(r"s1:([0-9a-f]{32}):([1-9][0-9]{0,5}):([A-Za-z0-9+/=]+)")
_SECTOR: Final = 4096


def subject_id(pseudonym: str) -> str:
    """Return the name under which a subject's key is kept: a hash of the pseudonym."""
    return hashlib.sha256(b"audit subject\x00" + pseudonym.encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Erasure:
    """What an erasure did."""

    subject: str
    generation: int
    index: int


class Subjects:
    """The keys of the subjects: ``keys/subjects/<id>/<generation>.key`` or ``.erased``."""

    def __init__(self, home: Home) -> None:
        self.folder = home.keys / "subjects"

    def seal(self, pseudonym: str, detail: Mapping[str, Any]) -> str:
        """Encrypt ``detail`` for the subject; the result is an event's ``sealed`` member."""
        ident = subject_id(pseudonym)
        generation, key = self._current(ident)
        nonce = secrets.token_bytes(NONCE_BYTES)
        head = f"s1:{ident}:{generation}"
        secret = AESGCM(key).encrypt(nonce, canonical_json(dict(detail)), head.encode())
        return f"{head}:{b64encode(nonce + secret)}"

    def open(self, sealed: str) -> dict[str, Any]:
        """Decrypt a ``sealed`` member.

        Raises :class:`AuditSubjectErasedError` when its key was destroyed, and
        :class:`AuditEntryUnavailableError` when it is not what was sealed.
        """
        match = _SEALED.fullmatch(sealed)
        if match is None:
            raise AuditEntryUnavailableError(expected="a sealed detail", found="another form")
        ident, generation = match[1], int(match[2])
        if self._path(ident, generation, "erased").exists():
            raise AuditSubjectErasedError(expected="the subject's key", found="its tombstone")
        path = self._path(ident, generation, "key")
        with os_errors(path):
            key = path.read_bytes()
        try:
            data = b64decode(match[3])
            head = f"s1:{ident}:{generation}".encode()
            plain = AESGCM(key).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], head)
        except (InvalidTag, ValueError):
            raise AuditEntryUnavailableError(
                expected="a detail as it was sealed", found="other bytes"
            ) from None
        value: dict[str, Any] = json.loads(plain)
        return value

    def erase(self, pseudonym: str, recorder: Recorder) -> Erasure:
        """Destroy the subject's key for ever, with a durable intent before and an outcome after.

        An erasure that was cut short is finished by the next. Raises ``InputMissingError`` when
        the subject has no key (nothing was ever sealed, or it is erased already).
        """
        ident = subject_id(pseudonym)
        with self._lock():
            generation = self._newest(ident)
            path = self._path(ident, generation, "key")
            if generation == 0 or not path.exists():
                raise InputMissingError(
                    expected="a subject with sealed details",
                    found="no key under that pseudonym",
                    remedy="Check the pseudonym with `appliance audit pseudonym`; a subject whose "
                    "key was destroyed before needs nothing more.",
                )
            detail: dict[str, Scalar] = {"subject": ident, "generation": generation}
            with recorder.action(ACTION, patient=pseudonym, crude="D", detail=detail) as act:
                write_json(self._path(ident, generation, "erased"), {"intent": act.id})
                destroy(path)
            return Erasure(ident, generation, act.receipt.index)

    def _lock(self) -> Any:
        return exclusive(self.folder / "lock", what="change of the subjects' keys")

    def _path(self, ident: str, generation: int, kind: str) -> Path:
        return self.folder / ident / f"{generation}.{kind}"

    def _newest(self, ident: str) -> int:
        folder = self.folder / ident
        names = [p.stem for p in folder.glob("*.*")] if folder.is_dir() else []
        return max((int(name) for name in names if name.isdecimal()), default=0)

    def _current(self, ident: str) -> tuple[int, bytes]:
        """Return the key to seal with; after an erasure a new one, of the next generation."""
        generation = self._newest(ident)
        if generation == 0 or self._path(ident, generation, "erased").exists():
            generation += 1
        path = self._path(ident, generation, "key")
        create_once(path, secrets.token_bytes(KEY_BYTES))
        with os_errors(path):
            return generation, path.read_bytes()


def create_once(path: Path, secret: bytes) -> None:
    """Write a key file unless there is one: of two makers at one time, one wins for both."""
    if path.exists():
        return
    temp = path.with_name(f"{TEMP_PREFIX}{path.name}.{secrets.token_hex(4)}")
    write_bytes(temp, secret, mode=0o600)
    try:
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(temp)
    finally:
        temp.unlink(missing_ok=True)
        fsync_dir(path.parent)


def destroy(path: Path) -> None:
    """Overwrite a key file, then remove it.

    Overwriting is a courtesy to old disks: on flash and on copying file systems only the disk's
    encryption (LUKS) and the expiry of backups make it certain, which the guide for IT says.
    """
    with os_errors(path):
        descriptor = os.open(path, os.O_WRONLY)
        try:
            os.pwrite(descriptor, secrets.token_bytes(KEY_BYTES) + b"\0" * (_SECTOR - KEY_BYTES), 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        path.unlink()
        fsync_dir(path.parent)
