"""A backup's header: who can open it. Everything in it is authenticated before it is used.

The file key (32 random bytes) is wrapped for each recipient as age does: for an X25519 key with
an ephemeral key agreement (RFC 7748) and HKDF-SHA-256 (RFC 5869), or for a passphrase with
scrypt (RFC 7914); both with ChaCha20-Poly1305. A MAC under the file key covers the header.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from appliance.core.canonical import canonical_json
from appliance.core.errors import BackupDamagedError, BackupLockedError
from appliance.core.settings.backup import BackupSettings

MAGIC = b"appliance-backup/1\n"
RECIPIENT = "appliance-backup-recipient-"
IDENTITY = "appliance-backup-identity-"
_ZERO_NONCE = bytes(12)  # each wrapping key is used once, as in age
_KEY_BYTES = 32


@dataclass(frozen=True)
class Secrets:
    """What may open a backup: X25519 identities and a passphrase."""

    identities: tuple[bytes, ...] = ()
    passphrase: str | None = None


@dataclass(frozen=True)
class Recipients:
    """Whom a backup is made for."""

    public: tuple[bytes, ...] = ()
    passphrase: str | None = None


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def generate_identity() -> tuple[str, str]:
    """Return a new (identity, recipient) pair as text."""
    private = X25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return IDENTITY + _b64(private.private_bytes_raw()), RECIPIENT + _b64(public)


def parse_key(text: str, prefix: str) -> bytes:
    """Return the raw key of an identity or a recipient line."""
    try:
        raw = _unb64(text.strip().removeprefix(prefix))
    except ValueError:
        raw = b""
    if not text.strip().startswith(prefix) or len(raw) != _KEY_BYTES:
        raise BackupLockedError(expected=f"a line that begins with {prefix}", found="another text")
    return raw


def derive(secret: bytes, salt: bytes, info: str) -> bytes:
    """Return 32 bytes for one purpose (HKDF-SHA-256)."""
    kdf = HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=salt, info=info.encode())
    return kdf.derive(secret)


def _wrap_x25519(file_key: bytes, public: bytes) -> dict[str, Any]:
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    key = derive(shared, share + public, "appliance-backup x25519")
    sealed = ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None)
    return {"type": "x25519", "share": _b64(share), "sealed": _b64(sealed)}


def _wrap_scrypt(file_key: bytes, passphrase: str, log_n: int) -> dict[str, Any]:
    salt = secrets.token_bytes(16)
    key = _scrypt(passphrase, salt, log_n)
    sealed = ChaCha20Poly1305(key).encrypt(_ZERO_NONCE, file_key, None)
    return {"type": "scrypt", "salt": _b64(salt), "log_n": log_n, "sealed": _b64(sealed)}


def _scrypt(passphrase: str, salt: bytes, log_n: int) -> bytes:
    kdf = Scrypt(salt=b"appliance-backup" + salt, length=_KEY_BYTES, n=1 << log_n, r=8, p=1)
    return kdf.derive(passphrase.encode())


def seal(file_key: bytes, recipients: Recipients, settings: BackupSettings) -> bytes:
    """Return the header line for ``recipients``."""
    stanzas = [_wrap_x25519(file_key, p) for p in recipients.public]
    if recipients.passphrase is not None:
        stanzas.append(_wrap_scrypt(file_key, recipients.passphrase, settings.scrypt_log_n))
    if not 0 < len(stanzas) <= settings.max_recipients:
        raise BackupLockedError(
            expected=f"1 to {settings.max_recipients} recipients",
            found=str(len(stanzas)),
            remedy="Name a recipient or a passphrase; an unencrypted backup is not made.",
        )
    body = {
        "chunk_bytes": settings.chunk_bytes,
        "salt": _b64(secrets.token_bytes(16)),
        "recipients": stanzas,
    }
    return MAGIC + canonical_json({"body": body, "mac": _mac(file_key, body)}) + b"\n"


def _mac(file_key: bytes, body: dict[str, Any]) -> str:
    key = derive(file_key, b"", "appliance-backup header")
    return _b64(hmac.new(key, canonical_json(body), hashlib.sha256).digest())


@dataclass(frozen=True)
class Opened:
    """A header that was opened: the payload key, bound to exactly these header bytes."""

    payload_key: bytes
    chunk_bytes: int


def payload_key(file_key: bytes, header: bytes) -> bytes:
    """Return the key of the chunks; another header gives another key."""
    return derive(file_key, hashlib.sha256(header).digest(), "appliance-backup payload")


def open_header(header: bytes, secrets_: Secrets, settings: BackupSettings) -> Opened:
    """Open a header; raise :class:`BackupLockedError` or :class:`BackupDamagedError`."""
    body, mac = _parse(header, settings)
    locked = BackupLockedError(expected="a secret of this backup", found="none that opens it")
    for stanza in body["recipients"]:
        file_key = _unwrap(stanza, secrets_, settings)
        if file_key is None:
            continue
        if not hmac.compare_digest(_mac(file_key, body), mac):
            raise BackupDamagedError(expected="the header as written", found="a changed header")
        return Opened(payload_key(file_key, header), int(body["chunk_bytes"]))
    raise locked


def _parse(header: bytes, settings: BackupSettings) -> tuple[dict[str, Any], str]:
    try:
        value = json.loads(header.removeprefix(MAGIC))
        body, mac = value["body"], str(value["mac"])
        stanzas = body["recipients"]
        good = (
            isinstance(stanzas, list)
            and 0 < len(stanzas) <= settings.max_recipients
            and all(isinstance(s, dict) for s in stanzas)
            and isinstance(body["chunk_bytes"], int)
            and 4096 <= body["chunk_bytes"] <= 64 << 20  # noqa: PLR2004 - the setting's own range
        )
    except (ValueError, KeyError, TypeError) as error:
        raise BackupDamagedError(expected="a backup header", found="not one") from error
    if not good:
        raise BackupDamagedError(expected="a header within the limits", found="other values")
    return body, mac


def _unwrap(stanza: dict[str, Any], held: Secrets, settings: BackupSettings) -> bytes | None:
    """Return the file key when one of the secrets opens this stanza."""
    try:
        keys = _candidate_keys(stanza, held, settings)
        sealed = _unb64(str(stanza["sealed"]))
    except (KeyError, ValueError, TypeError):
        return None
    for key in keys:
        try:
            return ChaCha20Poly1305(key).decrypt(_ZERO_NONCE, sealed, None)
        except InvalidTag:
            continue
    return None


def _candidate_keys(
    stanza: dict[str, Any], held: Secrets, settings: BackupSettings
) -> Sequence[bytes]:
    if stanza.get("type") == "x25519":
        share = _unb64(str(stanza["share"]))
        found = []
        for raw in held.identities:
            private = X25519PrivateKey.from_private_bytes(raw)
            shared = private.exchange(X25519PublicKey.from_public_bytes(share))
            public = private.public_key().public_bytes_raw()
            found.append(derive(shared, share + public, "appliance-backup x25519"))
        return found
    if stanza.get("type") == "scrypt" and held.passphrase is not None:
        log_n = int(stanza["log_n"])
        if not 10 <= log_n <= settings.scrypt_max_log_n:  # noqa: PLR2004 - the setting's own range
            raise BackupDamagedError(
                expected=f"scrypt of at most 2^{settings.scrypt_max_log_n}", found=f"2^{log_n}"
            )
        return [_scrypt(held.passphrase, _unb64(str(stanza["salt"])), log_n)]
    return []
