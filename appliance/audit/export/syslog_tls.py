"""The TLS end of RFC 5425: hand messages to a syslog receiver that proves who it is."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from appliance.audit.export.atna import frame
from appliance.core.errors.audit import AuditExportError

PORT: Final = 6514  # RFC 5425 section 4.1
TIMEOUT_S: Final = 20.0  # a receiver on the hospital's network answers in milliseconds


@dataclass(frozen=True)
class Receiver:
    """Where the messages go, and the certificates both ends show."""

    host: str
    port: int
    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    server_name: str | None = None


def context_for(receiver: Receiver) -> ssl.SSLContext:
    """Return a context that accepts only the named receiver under the given CA (TLS 1.2 up)."""
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_verify_locations(receiver.ca)
        if receiver.certificate is not None:
            context.load_cert_chain(receiver.certificate, receiver.key)
    except (OSError, ssl.SSLError) as error:
        raise AuditExportError(
            expected="readable certificates and a matching key", found=type(error).__name__
        ) from error
    return context


def send(receiver: Receiver, messages: Iterable[bytes]) -> int:
    """Send ``messages``, each in its frame; return how many were handed over.

    Syslog gives no receipt: the count means that TLS took them and that the connection was closed
    in order. Raises :class:`AuditExportError`.
    """
    context = context_for(receiver)
    sent = 0
    try:
        with (
            socket.create_connection((receiver.host, receiver.port), TIMEOUT_S) as plain,
            context.wrap_socket(
                plain, server_hostname=receiver.server_name or receiver.host
            ) as secure,
        ):
            for message in messages:
                secure.sendall(frame(message))
                sent += 1
            # close_notify tells the receiver that nothing was cut off; some answer by hanging up.
            with contextlib.suppress(ssl.SSLError, ConnectionError):
                secure.unwrap()
    except (OSError, ssl.SSLError) as error:
        name = getattr(error, "reason", None) or type(error).__name__
        raise AuditExportError(
            expected=f"a TLS syslog receiver at {receiver.host}:{receiver.port}",
            found=f"{name} after {sent} messages",
        ) from error
    return sent
