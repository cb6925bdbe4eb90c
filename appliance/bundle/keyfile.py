"""Signing keys: files sealed with a passphrase, or keys that never leave a PKCS#11 token."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from appliance.bundle.tufapi import CryptoSigner, HSMSigner, Signer, SSlibKey
from appliance.core.canonical import canonical_json
from appliance.core.durable import read_json, write_bytes
from appliance.core.errors import InputMissingError, KeyUnusableError

TYPE_FILE = "appliance-signing-key/1"
TYPE_HSM = "appliance-hsm-key/1"
# 128 MiB and about half a second a guess: RFC 7914 with the strength advised for stored files.
SCRYPT_LOG_N = 17
_PKCS11_VARIABLE = "PYKCS11LIB"

Ask = Callable[[str], str]
"""Asks a person for a passphrase or PIN; the argument says for what."""


@dataclass(frozen=True)
class PublicKey:
    """The public half of a key file."""

    path: Path
    key: SSlibKey
    hsm: bool


def _seal_key(passphrase: str, salt: bytes, log_n: int) -> bytes:
    kdf = Scrypt(salt=salt, length=32, n=1 << log_n, r=8, p=1)
    return kdf.derive(passphrase.encode())


def create(path: Path, passphrase: str, *, log_n: int = SCRYPT_LOG_N) -> SSlibKey:
    """Write a new Ed25519 key file (mode 0600); return its public half."""
    if path.exists():
        raise KeyUnusableError(expected=f"no file at {path}", found="a file: keys are not replaced")
    if not passphrase:
        raise KeyUnusableError(expected="a passphrase", found="an empty one")
    private = Ed25519PrivateKey.generate()
    raw = private.private_bytes(
        serialization.Encoding.Raw,
        serialization.PrivateFormat.Raw,
        serialization.NoEncryption(),
    )
    public = SSlibKey.from_crypto(private.public_key())
    head: dict[str, Any] = {
        "type": TYPE_FILE,
        "keyid": public.keyid,
        "public": public.to_dict(),
        "kdf": {"name": "scrypt", "log_n": log_n, "r": 8, "p": 1},
        "salt": secrets.token_hex(16),
        "nonce": secrets.token_hex(12),
    }
    box = AESGCM(_seal_key(passphrase, bytes.fromhex(head["salt"]), log_n))
    sealed = box.encrypt(bytes.fromhex(head["nonce"]), raw, canonical_json(head))
    head["sealed"] = base64.b64encode(sealed).decode()
    write_bytes(path, canonical_json(head) + b"\n", mode=0o600)
    return public


def import_hsm(path: Path, library: Path, label: str, key_id: int, ask: Ask) -> SSlibKey:
    """Write a key file that points at a key on a token; the private key stays there."""
    os.environ[_PKCS11_VARIABLE] = str(library)
    try:
        uri, public = HSMSigner.import_(key_id, label, ask)
    except Exception as error:
        raise KeyUnusableError(
            expected=f"an ECDSA P-256 or P-384 key {key_id} on the token {label}",
            found=str(error) or type(error).__name__,
        ) from error
    head = {
        "type": TYPE_HSM,
        "keyid": public.keyid,
        "public": public.to_dict(),
        "uri": uri,
        "library": str(library),
    }
    write_bytes(path, canonical_json(head) + b"\n", mode=0o600)
    return public


def load_public(path: Path) -> PublicKey:
    """Read the public half; no passphrase is needed."""
    head = _read(path)
    return PublicKey(path, _public(head), head["type"] == TYPE_HSM)


def load_signer(path: Path, ask: Ask) -> Signer:
    """Open a key for signing; ``ask`` is called for the passphrase or the token's PIN."""
    head = _read(path)
    public = _public(head)
    if head["type"] == TYPE_HSM:
        os.environ[_PKCS11_VARIABLE] = str(head["library"])
        return HSMSigner.from_priv_key_uri(
            head["uri"], public, lambda _: ask(f"PIN of the token for {path.name}")
        )
    aad = canonical_json({k: v for k, v in head.items() if k != "sealed"})
    log_n = head["kdf"].get("log_n")
    if not isinstance(log_n, int) or not 10 <= log_n <= 20:  # noqa: PLR2004 - 1 MiB to 1 GiB
        raise KeyUnusableError(expected="scrypt with 2^10 to 2^20", found="another cost")
    try:
        key = _seal_key(ask(f"passphrase of {path.name}"), bytes.fromhex(head["salt"]), log_n)
        raw = AESGCM(key).decrypt(
            bytes.fromhex(head["nonce"]), base64.b64decode(head["sealed"]), aad
        )
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise KeyUnusableError(
            expected=f"the passphrase of {path}", found="a wrong passphrase or a changed file"
        ) from error
    return CryptoSigner(Ed25519PrivateKey.from_private_bytes(raw), public)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputMissingError(expected="a key file", found=f"nothing at {path}")
    head = read_json(path)
    if not isinstance(head, dict) or head.get("type") not in {TYPE_FILE, TYPE_HSM}:
        raise KeyUnusableError(expected=f"a key file of this appliance at {path}", found="other")
    return head


def _public(head: dict[str, Any]) -> SSlibKey:
    try:
        key = SSlibKey.from_dict(head["keyid"], dict(head["public"]))
    except (KeyError, TypeError, ValueError) as error:
        raise KeyUnusableError(expected="a public key", found=type(error).__name__) from error
    return key
