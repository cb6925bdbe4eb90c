"""The keys that sign checkpoints: an Ed25519 key in a file, in an HSM, or sealed to a TPM 2.

Each shard has a key of its own. The file form (mode 0600) is for the demo: whoever reads it can
forge a log, and only kept or witnessed checkpoints would show it.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from appliance.audit.layout import KEYS
from appliance.audit.note import SeedSigner, Signer, Verifier, encode_skey, parse_skey
from appliance.core.durable import os_errors, write_bytes
from appliance.core.errors import AuditKeyError, AuditNoteInvalidError
from appliance.core.settings.audit import AuditSettings


def shard_origin(settings: AuditSettings, number: int) -> str:
    """Return the name of shard ``number``, which is also the name of its key."""
    return f"{settings.origin}/{number:04d}"


class KeyStore(Protocol):
    """Where the shards' keys live."""

    def create(self, name: str) -> Signer:
        """Make the key called ``name``; refuse to replace one."""
        ...

    def load(self, name: str) -> Signer:
        """Return the key called ``name``; raises :class:`AuditKeyError`."""
        ...

    def destroy(self, name: str) -> None:
        """Destroy the private key of a closed shard, so that nobody can sign for it again."""
        ...


class FileKeys:
    """Keys in files of mode 0600, in the form Go's note package writes."""

    def __init__(self, audit: Path) -> None:
        self._folder = audit / KEYS

    def _path(self, name: str) -> Path:
        return self._folder / f"{name.rsplit('/', 1)[-1]}.key"

    def create(self, name: str) -> Signer:
        """Make a key file; refuse to replace one."""
        path = self._path(name)
        if path.exists():
            raise AuditKeyError(expected="no key of that name yet", found=f"{path.name}")
        with os_errors(path):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        signer = SeedSigner.generate()
        write_bytes(path, (encode_skey(name, signer.seed) + "\n").encode(), mode=0o600)
        return signer

    def load(self, name: str) -> Signer:
        """Read a key file; refuse one that others can read."""
        path = self._path(name)
        with os_errors(path):
            data = path.read_bytes()
            mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise AuditKeyError(expected="a key file of mode 0600", found=f"mode {mode:04o}")
        try:
            verifier, signer = parse_skey(data.decode("ascii"))
        except (UnicodeDecodeError, AuditNoteInvalidError) as error:
            raise AuditKeyError(expected="a signing key", found="other bytes") from error
        if verifier.name != name:
            raise AuditKeyError(expected=f"the key of {name}", found=f"that of {verifier.name}")
        return signer

    def destroy(self, name: str) -> None:
        """Overwrite and remove the file (on flash the overwriting is not a promise)."""
        path = self._path(name)
        with os_errors(path):
            if path.exists():
                with path.open("r+b") as stream:
                    stream.write(b"\0" * path.stat().st_size)
                    stream.flush()
                    os.fsync(stream.fileno())
                path.unlink()


def check_signer(signer: Signer, name: str) -> Verifier:
    """Return the verifier of ``signer`` after it signed and checked a test message."""
    verifier = Verifier(name, signer.public_key)
    text = "self-test\n"
    if not verifier.check(text, signer.sign(text.encode())):
        raise AuditKeyError(expected="a signature that verifies", found="one that does not")
    return verifier
