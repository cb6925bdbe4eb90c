"""What the container tests share besides fixtures."""

from __future__ import annotations

import importlib.util
import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker import DockerClient
from docker.models.containers import Container

ROOT = Path(__file__).resolve().parents[2]
RECIPES = ROOT / "images"
CACHE = ROOT / ".run" / "images"
ASK = (
    "import http.client, json, ssl, sys\n"
    "from urllib.parse import urlsplit\n"
    "url, body, headers = urlsplit(sys.argv[1]), sys.argv[2] or None, json.loads(sys.argv[3])\n"
    "context = ssl.create_default_context(cafile='/tmp/ca.pem')\n"
    "c = http.client.HTTPSConnection(url.hostname, url.port, context=context, timeout=100)\n"
    "c.request('POST' if body else 'GET', url.path, body, headers)\n"
    "r = c.getresponse(); print(r.status, r.read().decode())\n"
)


def archive(name: str) -> Path:
    """Return where an image's archive lies."""
    return CACHE / "test" / f"{name}.oci.tar"


def wait_healthy(container: Container, *, seconds: float = 120) -> None:
    """Wait until the image's own health check says so."""
    deadline = time.monotonic() + seconds
    while True:
        container.reload()
        state = container.attrs["State"]
        if state.get("Health", {}).get("Status") == "healthy":
            return
        if state["Status"] == "exited" or time.monotonic() > deadline:
            pytest.fail(f"{state}: {container.logs().decode()[-2000:]}")
        time.sleep(0.3)


def prepare(home: Path, service: str, more: str = "") -> None:
    """Write a certificate and the settings a service needs to listen beyond loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, service)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(service)]), critical=False)
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
        f"[{service}]\n"
        f'allowed_hosts = ["{service}"]\n'
        'tls_certificate = "/var/lib/appliance/tls.pem"\n'
        'tls_key = "/var/lib/appliance/tls.key"\n'
        f"{more}",
        encoding="utf-8",
    )
    for path in home.iterdir():
        os.chown(path, 10001, 10000)


@dataclass(frozen=True)
class Neighbour:
    """A container on the network inside, beside the services; it trusts their certificate."""

    docker: DockerClient
    image: str
    network: str
    ca: Path

    def ask(self, url: str, body: Any = None, key: str = "") -> tuple[int, str]:
        """Return status and body of the answer."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {key}"}
        asked = self.docker.containers.run(
            self.image,
            ["-c", ASK, url, json.dumps(body) if body else "", json.dumps(headers)],
            network=self.network,
            volumes=[f"{self.ca}:/tmp/ca.pem:ro"],
            remove=True,
        )
        status, _, text = asked.decode().partition(" ")
        return int(status), text


def toy_gguf() -> ModuleType:
    """Return the maker of toy models of the engine's own tests."""
    source = ROOT / "tests" / "integration" / "inference" / "toy_gguf.py"
    spec = importlib.util.spec_from_file_location("toy_gguf_for_containers", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def toy_model(path: Path) -> Path:
    """Write the toy model of the engine's own tests."""
    return Path(toy_gguf().write_base(path))
