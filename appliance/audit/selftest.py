"""Known answers asked of this machine's cryptography before a log is opened."""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from appliance.audit.tree import leaf_hash, node_hash
from appliance.core.errors import AuditSelfTestError

# RFC 8032 section 7.1, test 2: secret key, public key, message, signature.
_SEED = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
_PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
_MESSAGE = b"\x72"
_SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
# RFC 6962: the leaf hash of the empty entry, and the root over ("", 0x00), as in the
# certificate-transparency reference implementation's test vectors.
_LEAF = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
_PAIR = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"
# FIPS 180-4: SHA-256 of "abc".
_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def self_test() -> None:
    """Raise :class:`AuditSelfTestError` unless every known answer comes back."""
    _expect(hashlib.sha256(b"abc").hexdigest() == _ABC, "SHA-256")
    _expect(leaf_hash(b"").hex() == _LEAF, "RFC 6962 leaf hash")
    _expect(node_hash(leaf_hash(b""), leaf_hash(b"\x00")).hex() == _PAIR, "RFC 6962 node hash")
    key = Ed25519PrivateKey.from_private_bytes(_SEED)
    _expect(key.public_key().public_bytes_raw() == _PUBLIC, "Ed25519 public key")
    _expect(key.sign(_MESSAGE) == _SIGNATURE, "Ed25519 signature")
    _expect(not _accepts(_SIGNATURE[:-1] + b"\x01"), "Ed25519 refusal of a wrong signature")


def _accepts(signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(_PUBLIC).verify(signature, _MESSAGE)
    except InvalidSignature:
        return False
    return True


def _expect(good: bool, what: str) -> None:  # noqa: FBT001 - an assertion that is always on
    if not good:
        raise AuditSelfTestError(expected=f"the published answer of {what}", found="another")
