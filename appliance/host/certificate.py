"""The TLS certificate of this machine: self-signed at first, the hospital's own when it comes.

ECDSA P-256 with SHA-256 (RFC 8422, NIST SP 800-186); names per RFC 6125 stand in subjectAltName
only.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from appliance.core.certificate import certificate_file, folder, key_file
from appliance.core.durable import write_bytes
from appliance.core.errors.host import CertificateUnusableError
from appliance.core.home import Home

DAYS = 825  # the longest that browsers accept of a server certificate from a local authority
_BACK = timedelta(days=1)  # clocks of clients differ
_PEM_MAX = 65_536


@dataclass(frozen=True)
class Held:
    """The certificate in use."""

    names: tuple[str, ...]
    not_after: datetime
    sha256: str
    self_signed: bool

    def days_left(self, now: datetime) -> int:
        """Return the whole days until it ends; negative when it has."""
        return (self.not_after - now).days


def names_for(address: str, hostname: str, more: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names a certificate of this machine needs, each once."""
    plain = address.partition("/")[0]
    return tuple(dict.fromkeys(n for n in (plain, hostname, *more, "127.0.0.1") if n))


def make(home: Home, names: tuple[str, ...], now: datetime) -> Held:
    """Make the key, where none is, a self-signed certificate and a request for an authority."""
    folder(home).mkdir(parents=True, exist_ok=True, mode=0o700)
    key = _key(home)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hospital appliance")])
    san = x509.SubjectAlternativeName([_general(name) for name in names])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    signed = request.add_extension(san, critical=False).sign(key, hashes.SHA256())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACK)
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(san, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    write_bytes(folder(home) / "server.csr", signed.public_bytes(pem), mode=0o644)
    write_bytes(certificate_file(home), certificate.public_bytes(pem), mode=0o644)
    return _held(certificate)


def install(home: Home, source: Path, now: datetime) -> Held:
    """Take the certificate (chain) that the hospital's authority made for this machine's key.

    Raises:
        CertificateUnusableError: it is for another key, not valid now, or names nothing.
    """
    data = _read(source)
    try:
        chain = x509.load_pem_x509_certificates(data)
    except ValueError:
        raise _refused("PEM certificates, this machine's first", f"{source.name}") from None
    first, key = chain[0], _key(home)
    if first.public_key() != key.public_key():
        raise _refused("a certificate for this machine's key (server.csr)", "another key's")
    held = _held(first)
    if not first.not_valid_before_utc <= now <= held.not_after:
        raise _refused(f"one valid on {now:%Y-%m-%d}", f"one until {held.not_after:%Y-%m-%d}")
    if not held.names:
        raise _refused("names in subjectAltName", "none")
    for below, above in pairwise(chain):
        try:
            below.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            raise _refused("each certificate signed by the next", "a broken chain") from None
    write_bytes(certificate_file(home), data, mode=0o644)
    return held


def held(home: Home) -> Held | None:
    """Return the certificate in use, None where there is none."""
    path = certificate_file(home)
    if not path.exists():
        return None
    try:
        return _held(x509.load_pem_x509_certificates(_read(path))[0])
    except ValueError:
        raise _refused("PEM certificates", f"something else in {path}") from None


def _key(home: Home) -> ec.EllipticCurvePrivateKey:
    path = key_file(home)
    if not path.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_bytes(path, pem, mode=0o600)
        return key
    try:
        found = serialization.load_pem_private_key(path.read_bytes(), None)
    except ValueError:
        raise _refused(f"a PEM private key in {path}", "something else") from None
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise _refused(f"an elliptic-curve key in {path}", type(found).__name__)
    return found


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_PEM_MAX)
    except OSError as error:
        raise _refused(f"a readable file {path}", str(error.strerror)) from error


def _held(certificate: x509.Certificate) -> Held:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        found = [str(one.value) for one in san]
    except x509.ExtensionNotFound:
        found = []
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Held(
        tuple(found),
        certificate.not_valid_after_utc,
        hashlib.sha256(der).hexdigest(),
        certificate.issuer == certificate.subject,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _refused(expected: str, found: str) -> CertificateUnusableError:
    return CertificateUnusableError(expected=expected, found=found)
