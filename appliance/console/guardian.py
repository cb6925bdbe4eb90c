"""What stands before every page: size of a request, origin of a form, headers of an answer."""

from __future__ import annotations

from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# No inline script or style at all, so neither nonces nor hashes are needed (OWASP CSP guide).
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
STRICT_TRANSPORT: Final = "max-age=31536000"


class TooLargeError(Exception):
    """A request's body goes beyond the limit."""


class Guardian:
    """An ASGI wrapper: bounded bodies, same-site forms, security headers, no caching."""

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, secure: bool) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.secure = secure

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_body_bytes:
                raise TooLargeError
            return message

        async def sealed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._add_headers(MutableHeaders(scope=message), scope["path"])
            await send(message)

        headers = Headers(scope=scope)
        if scope["method"] == "POST" and _foreign(headers):
            await PlainTextResponse("cross-site form", 403)(scope, receive, sealed)
            return
        try:
            await self.app(scope, bounded, sealed)
        except TooLargeError:
            await PlainTextResponse("request too large", 413)(scope, receive, sealed)

    def _add_headers(self, headers: MutableHeaders, path: str) -> None:
        for name, value in HEADERS.items():
            headers[name] = value
        cached = path.startswith("/static/")
        headers["Cache-Control"] = "public, max-age=3600" if cached else "no-store"
        if self.secure:
            headers["Strict-Transport-Security"] = STRICT_TRANSPORT


def _foreign(headers: Headers) -> bool:
    """Say whether a browser tells that a form came from another site (Fetch Metadata)."""
    site = headers.get("sec-fetch-site", "same-origin")
    if site not in {"same-origin", "none"}:
        return True
    origin: Any = headers.get("origin")
    if origin in {None, "null"}:
        return False
    return bool(origin.split("//", 1)[-1] != headers.get("host", ""))
