"""Signing keys in an HSM, over PKCS#11: the private key is made there and never leaves.

Ed25519 is CKM_EDDSA over CKK_EC_EDWARDS (PKCS#11 v3.0); a token that knows only older versions
cannot hold these keys and says so.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from appliance.audit.note import Signer
from appliance.core.durable import os_errors
from appliance.core.errors import AuditKeyError
from appliance.core.settings.audit import AuditSettings

ED25519_OID = "1.3.101.112"  # RFC 8410
POINT_BYTES = 32


class HsmSigner:
    """A key in a token. One thread at a time."""

    def __init__(self, private: Any, public: bytes) -> None:
        """Sign with the token's object ``private``, whose public key is ``public``."""
        self._private = private
        self._public = public

    @property
    def public_key(self) -> bytes:
        """The 32 bytes of the public key."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of an Ed25519 signature; raises :class:`AuditKeyError`."""
        import pkcs11

        try:
            return bytes(self._private.sign(message, mechanism=pkcs11.Mechanism.EDDSA))
        except pkcs11.PKCS11Error as error:
            raise _failed("a token that signs with EDDSA", error) from error


class HsmKeys:
    """The keys of a token, found by their label."""

    def __init__(self, settings: AuditSettings) -> None:
        self._module = settings.pkcs11_module
        self._token = settings.pkcs11_token
        self._pin_file = settings.pkcs11_pin_file
        self._session: Any = None

    def create(self, name: str) -> Signer:
        """Make a key pair in the token: sensitive, not extractable, for signing only."""
        import pkcs11
        from pkcs11.util.ec import encode_named_curve_parameters

        session = self._open()
        if list(session.get_objects({pkcs11.Attribute.LABEL: name})):
            raise AuditKeyError(expected="no key of that label yet", found=name)
        try:
            curve = session.create_domain_parameters(
                pkcs11.KeyType.EC_EDWARDS,
                {pkcs11.Attribute.EC_PARAMS: encode_named_curve_parameters(ED25519_OID)},
                local=True,
            )
            public, private = curve.generate_keypair(
                mechanism=pkcs11.Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
                store=True,
                label=name,
                private_template={
                    pkcs11.Attribute.SENSITIVE: True,
                    pkcs11.Attribute.EXTRACTABLE: False,
                },
            )
        except pkcs11.PKCS11Error as error:
            raise _failed("a token that makes Ed25519 keys", error) from error
        return HsmSigner(private, _point(public))

    def load(self, name: str) -> Signer:
        """Find the key pair with the label ``name``."""
        import pkcs11

        session = self._open()
        try:
            private = session.get_key(object_class=pkcs11.ObjectClass.PRIVATE_KEY, label=name)
            public = session.get_key(object_class=pkcs11.ObjectClass.PUBLIC_KEY, label=name)
        except pkcs11.PKCS11Error as error:
            raise _failed(f"one key pair labelled {name}", error) from error
        return HsmSigner(private, _point(public))

    def destroy(self, name: str) -> None:
        """Destroy every object with the label ``name``."""
        import pkcs11

        try:
            for found in list(self._open().get_objects({pkcs11.Attribute.LABEL: name})):
                found.destroy()
        except pkcs11.PKCS11Error as error:
            raise _failed("a token whose keys can be destroyed", error) from error

    def _open(self) -> Any:
        if self._session is None:
            import pkcs11

            try:
                token = pkcs11.lib(self._module).get_token(token_label=self._token)
                self._session = token.open(user_pin=self._pin(), rw=True)
            except (pkcs11.PKCS11Error, RuntimeError) as error:
                raise _failed(f"the token {self._token}", error) from error
        return self._session

    def _pin(self) -> str:
        path = Path(self._pin_file)
        with os_errors(path):
            text = path.read_text("utf-8").strip()
            mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise AuditKeyError(expected="a PIN file of mode 0600", found=f"mode {mode:04o}")
        return text


def _point(public: Any) -> bytes:
    """Return the public key; tokens give it bare or as a DER octet string."""
    import pkcs11

    data = bytes(public[pkcs11.Attribute.EC_POINT])
    if len(data) == POINT_BYTES + 2 and data[:2] == b"\x04\x20":
        data = data[2:]
    if len(data) != POINT_BYTES:
        raise AuditKeyError(expected="an Ed25519 public key", found=f"{len(data)} bytes")
    return data


def _failed(expected: str, error: Exception) -> AuditKeyError:
    return AuditKeyError(expected=expected, found=type(error).__name__)
