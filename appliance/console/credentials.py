"""Passwords (argon2id), second factors (TOTP, RFC 6238) and the key that seals them at rest."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import secrets
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

import pyotp
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.audit.erase import create_once
from appliance.core.durable import os_errors
from appliance.core.errors import ConsoleAccountError, StateDamagedError
from appliance.core.home import Home
from appliance.core.settings.console import ConsoleSettings

KEY_FILE: Final = "console.key"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
STEP_S: Final = 30  # RFC 6238: the default time step
DRIFT_STEPS: Final = 1  # RFC 6238 5.2: at most one step for the network and slow hands
ISSUER: Final = "Hospital AI"
_hasher = PasswordHasher()  # RFC 9106's second recommended option: 64 MiB, t = 3, p = 4


def check_password(password: str, name: str, settings: ConsoleSettings) -> str:
    """Return a password fit for use or raise; NIST SP 800-63B: length counts, not classes."""
    if not settings.password_min_chars <= len(password) <= settings.password_max_chars:
        raise ConsoleAccountError(
            expected=f"a password of {settings.password_min_chars} to "
            f"{settings.password_max_chars} characters",
            found=f"{len(password)} characters",
        )
    if name in password.casefold() or len(set(password)) < 5:  # noqa: PLR2004 - "aaaaaaaaaaaa" and the like
        raise ConsoleAccountError(
            expected="a password that is not made of the name or of a few characters",
            found="such a one",
        )
    return password


def hash_password(password: str) -> str:
    """Return the argon2id hash in its encoded form."""
    return _hasher.hash(password)


@cache
def _nobody() -> str:
    return _hasher.hash(secrets.token_hex(16))


def password_fits(encoded: str | None, password: str) -> bool:
    """Compare; without a hash the same work is done, so that time does not tell who exists."""
    try:
        return _hasher.verify(encoded or _nobody(), password) and encoded is not None
    except (Argon2Error, InvalidHashError):
        return False


class Sealer:
    """Seals TOTP secrets under a key in ``keys/`` (mode 0600), bound to the account's name."""

    def __init__(self, home: Home) -> None:
        self.path: Path = home.keys / KEY_FILE

    def seal(self, name: str, secret: str) -> str:
        """Return the sealed secret."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        body = self._cipher().encrypt(nonce, secret.encode(), name.encode())
        return base64.b64encode(nonce + body).decode()

    def open(self, name: str, sealed: str) -> str:
        """Return the secret; raises :class:`StateDamagedError` for a foreign or changed one."""
        data = base64.b64decode(sealed)
        try:
            plain = self._cipher().decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], name.encode())
        except (InvalidTag, ValueError):
            raise StateDamagedError(
                expected="a second factor sealed for this account", found="another"
            ) from None
        return plain.decode()

    def _cipher(self) -> AESGCM:
        if not self.path.exists():
            create_once(self.path, secrets.token_bytes(KEY_BYTES))
        with os_errors(self.path):
            key = self.path.read_bytes()
        if len(key) != KEY_BYTES:
            raise StateDamagedError(expected=f"a key of {KEY_BYTES} bytes", found=f"{len(key)}")
        return AESGCM(key)


def new_totp() -> str:
    """Return a new secret of 160 bits (RFC 4226 recommends that length)."""
    return pyotp.random_base32()


def totp_uri(secret: str, name: str) -> str:
    """Return what an authenticator app reads from the QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name=ISSUER)


def totp_svg(uri: str) -> str:
    """Return the QR code as an inline SVG without any style."""
    import segno

    stream = io.BytesIO()
    segno.make(uri, error="m").save(
        stream, kind="svg", scale=5, xmldecl=False, svgns=True, omitsize=False, light="#fff"
    )
    return stream.getvalue().decode()


def accepted_step(secret: str, code: str, now: datetime, after: int) -> int | None:
    """Return the time step of a code that is right and newer than step ``after``, else None.

    A code is good once (RFC 6238 5.2): a step at or before the last accepted one is refused.
    """
    if len(code) != 6 or not code.isascii() or not code.isdecimal():  # noqa: PLR2004 - six digits
        return None
    here = int(now.timestamp()) // STEP_S
    totp = pyotp.TOTP(secret)
    found = None
    for step in range(here - DRIFT_STEPS, here + DRIFT_STEPS + 1):
        if hmac.compare_digest(totp.generate_otp(step), code) and step > after:
            found = step
    return found


def new_invitation() -> tuple[str, str]:
    """Return a code to hand over and the hash that is kept."""
    code = base64.b32encode(secrets.token_bytes(15)).decode().lower()
    return "-".join(code[i : i + 6] for i in range(0, 24, 6)), invitation_hash(code)


def invitation_hash(code: str) -> str:
    """Return the kept form of an invitation (120 random bits: a plain hash is enough)."""
    return hashlib.sha256(code.replace("-", "").strip().lower().encode()).hexdigest()
