"""The machine's own TLS certificate: where it lies, and which one a service listens with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from appliance.core.home import Home
from appliance.core.settings.console import ConsoleSettings
from appliance.core.settings.gateway import LOOPBACK, GatewaySettings


def folder(home: Home) -> Path:
    """Return the folder of key, certificate and request."""
    return home.keys / "tls"


def certificate_file(home: Home) -> Path:
    """Return the certificate that `host certificate` made or installed."""
    return folder(home) / "server.crt"


def key_file(home: Home) -> Path:
    """Return its private key."""
    return folder(home) / "server.key"


def own_names(address: str) -> tuple[str, ...]:
    """Return the names clients may call this machine by: the address without its prefix length."""
    return (address.partition("/")[0],) if address else ()


def listening_values(
    home: Home, host: str, named: GatewaySettings | ConsoleSettings, address: str
) -> dict[str, Any]:
    """Return ``tls_certificate``, ``tls_key`` and ``allowed_hosts`` for listening on ``host``.

    What the settings ``named`` stands (relative paths lie below the home). Beyond loopback, what
    they leave open is the machine's own certificate and address. On loopback nothing is added.
    """
    certificate, key, hosts = named.tls_certificate, named.tls_key, named.allowed_hosts
    own = certificate_file(home)
    if host not in LOOPBACK:
        if certificate is None and key is None and own.is_file():
            certificate, key = own, key_file(home)
        hosts = hosts or (*own_names(address), "127.0.0.1")
    return {
        "tls_certificate": home.root / certificate if certificate else None,
        "tls_key": home.root / key if key else None,
        "allowed_hosts": hosts,
    }
