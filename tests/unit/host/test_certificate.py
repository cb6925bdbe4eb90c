"""The machine's TLS certificate."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from appliance.core.certificate import certificate_file, folder, key_file, listening_values
from appliance.core.errors.host import CertificateUnusableError
from appliance.core.home import Home
from appliance.core.settings.gateway import GatewaySettings
from appliance.host.certificate import DAYS, held, install, make, names_for

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PEM = serialization.Encoding.PEM


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


def authority(
    request: x509.CertificateSigningRequest,
    *,
    until: datetime = NOW + timedelta(days=90),
    names: bool = True,
) -> tuple[bytes, bytes]:
    """Return the certificate of a hospital's authority for the request, and the authority's."""
    key = ec.generate_private_key(ec.SECP384R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    common = x509.CertificateBuilder().issuer_name(name).not_valid_before(NOW - timedelta(days=9))
    root = (
        common.subject_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_after(NOW + timedelta(days=900))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA384())
    )
    leaf = (
        common.subject_name(request.subject)
        .public_key(request.public_key())
        .serial_number(2)
        .not_valid_after(until)
    )
    if names:
        leaf = leaf.add_extension(request.extensions[0].value, critical=False)
    return leaf.sign(key, hashes.SHA384()).public_bytes(PEM), root.public_bytes(PEM)


def request_of(home: Home) -> x509.CertificateSigningRequest:
    return x509.load_pem_x509_csr((folder(home) / "server.csr").read_bytes())


def test_a_first_one_is_made_that_a_tls_library_takes(home: Home) -> None:
    made = make(home, names_for("10.20.0.7/24", "appliance"), NOW)
    assert made.names == ("10.20.0.7", "appliance", "127.0.0.1")
    assert made.self_signed
    assert made.days_left(NOW) == DAYS
    assert held(home) == made
    assert key_file(home).stat().st_mode & 0o777 == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file(home), key_file(home))
    assert request_of(home).is_signature_valid


def test_renewing_keeps_the_key(home: Home) -> None:
    make(home, ("a",), NOW)
    before = key_file(home).read_bytes()
    later = make(home, ("a",), NOW + timedelta(days=800))
    assert key_file(home).read_bytes() == before
    assert later.not_after == NOW + timedelta(days=800 + DAYS)


def test_the_hospitals_authority_takes_over(home: Home, tmp_path: Path) -> None:
    make(home, ("10.20.0.7",), NOW)
    leaf, root = authority(request_of(home))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(leaf + root)
    found = install(home, chain, NOW)
    assert not found.self_signed
    assert certificate_file(home).read_bytes() == leaf + root


@pytest.mark.parametrize("attack", ["foreign key", "ended", "no names", "broken chain", "no PEM"])
def test_a_certificate_that_cannot_serve_is_refused(
    home: Home, tmp_path: Path, attack: str
) -> None:
    make(home, ("10.20.0.7",), NOW)
    other = Home(tmp_path / "other").prepare()
    make(other, ("10.20.0.7",), NOW)
    request = request_of(other if attack == "foreign key" else home)
    until = NOW - timedelta(days=1) if attack == "ended" else NOW + timedelta(days=90)
    leaf, root = authority(request, until=until, names=attack != "no names")
    if attack == "broken chain":
        root = authority(request)[1]
    path = tmp_path / "given.pem"
    path.write_bytes(b"nothing" if attack == "no PEM" else leaf + root)
    before = certificate_file(home).read_bytes()
    with pytest.raises(CertificateUnusableError):
        install(home, path, NOW)
    assert certificate_file(home).read_bytes() == before


def test_beyond_loopback_the_own_one_is_taken_and_settings_stand(home: Home) -> None:
    def values(host: str, **given: object) -> dict[str, object]:
        named = GatewaySettings().model_copy(update=given)
        return listening_values(home, host, named, "10.20.0.7/24")

    assert values("0.0.0.0")["tls_certificate"] is None  # noqa: S104 - a value, nobody listens
    make(home, ("10.20.0.7",), NOW)
    own = values("0.0.0.0")  # noqa: S104 - as above
    assert own["tls_certificate"] == certificate_file(home)
    assert own["allowed_hosts"] == ("10.20.0.7", "127.0.0.1")
    assert values("127.0.0.1")["tls_certificate"] is None
    named = values(
        "10.20.0.7",
        tls_certificate=Path("tls/x.crt"),
        tls_key=Path("/k"),
        allowed_hosts=("ai",),
    )
    assert named == {
        "tls_certificate": home.root / "tls/x.crt",
        "tls_key": Path("/k"),
        "allowed_hosts": ("ai",),
    }
