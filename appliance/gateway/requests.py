"""Reading a request safely: host, size, time, and who it is from."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from starlette.requests import Request

from appliance.core.errors import RequestRefusedError
from appliance.core.settings.gateway import LOOPBACK, GatewaySettings


def host_name(header: str) -> str:
    """Return the name in a Host header, without port and brackets, in lower case."""
    name = header.strip().lower()
    if name.startswith("["):
        return name[1:].partition("]")[0]
    return name.partition(":")[0]


def allowed_hosts(settings: GatewaySettings) -> frozenset[str]:
    """Return the names a Host header may hold."""
    named = {*LOOPBACK, *settings.allowed_hosts, settings.host}
    return frozenset(name.lower().strip("[]") for name in named)


def check_host(headers: Iterable[tuple[bytes, bytes]], allowed: frozenset[str]) -> None:
    """Refuse a request whose Host is missing, doubled or foreign (DNS rebinding)."""
    hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
    if len(hosts) != 1 or host_name(hosts[0]) not in allowed:
        raise RequestRefusedError(
            expected="one Host header with a name of this gateway",
            found="none" if not hosts else "another",
            status=421,
        )


def check_type(headers: Mapping[str, str]) -> None:
    """Refuse a body that is not declared as JSON: a web form can be sent from any page."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise RequestRefusedError(
            expected="content-type application/json", found="another", status=415
        )


async def read_body(request: Request, settings: GatewaySettings) -> bytes:
    """Return the body, at most ``max_body_bytes``, read within ``body_timeout_s``."""
    limit = settings.max_body_bytes
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise RequestRefusedError(
            expected=f"a body within {settings.body_timeout_s:g} s",
            found="a slower one",
            status=408,
        ) from None
    return bytes(body)


def _too_large(limit: int) -> RequestRefusedError:
    return RequestRefusedError(
        expected=f"a body of at most {limit} bytes", found="a larger one", status=413
    )
