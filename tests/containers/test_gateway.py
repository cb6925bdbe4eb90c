"""The gateway as the compose file starts it: TLS, read-only, no way out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker import DockerClient
from docker.models.containers import Container

from appliance.bundle.images.services import Plan
from tests.containers.container_support import wait_healthy

pytestmark = pytest.mark.containers
ASK = (
    "import http.client, socket, ssl, sys\n"
    "context = ssl.create_default_context(cafile='/tmp/ca.pem')\n"
    "c = http.client.HTTPSConnection('gateway', 8443, context=context, timeout=10)\n"
    "c.request('GET', sys.argv[1]); r = c.getresponse(); print(r.status, r.read().decode())\n"
)


def prepare(home: Path) -> None:
    """Write a certificate and the settings a gateway needs to listen beyond loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("gateway")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (home / "tls.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (home / "tls.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (home / "appliance.toml").write_text(
        "[gateway]\n"
        'allowed_hosts = ["gateway"]\n'
        'tls_certificate = "/var/lib/appliance/tls.pem"\n'
        'tls_key = "/var/lib/appliance/tls.key"\n',
        encoding="utf-8",
    )
    for path in home.iterdir():
        os.chown(path, 10001, 10000)


@pytest.fixture
def gateway(plan: Plan, tmp_path: Path, service: Callable[[str], Container]) -> Container:
    prepare(tmp_path / "appliance")
    plan.services["gateway"]["ports"] = []  # the published port is the host's own test
    container = service("gateway")
    container.start()
    wait_healthy(container, seconds=300)
    return container


def test_it_answers_health_to_its_neighbours_over_tls(
    docker: DockerClient, gateway: Container, plan: Plan, tmp_path: Path, loaded: dict[str, str]
) -> None:
    asked = docker.containers.run(
        loaded["base"],
        ["-c", ASK, "/health"],
        network=f"{plan.project}_inside",
        volumes=[f"{tmp_path}/appliance/tls.pem:/tmp/ca.pem:ro"],
        remove=True,
    )
    status, _, body = asked.decode().partition(" ")
    assert status == "200" and json.loads(body)["status"] == "alive"


def test_it_stops_in_order_and_its_state_is_its_own(gateway: Container, tmp_path: Path) -> None:
    assert gateway.attrs["HostConfig"]["ReadonlyRootfs"] is True
    gateway.stop(timeout=30)
    gateway.reload()
    assert gateway.attrs["State"]["ExitCode"] == 0, gateway.logs().decode()[-1000:]
    written = [p for p in (tmp_path / "appliance" / "audit").rglob("*") if p.is_file()]
    assert written and all(p.stat().st_uid == 10001 for p in written)
