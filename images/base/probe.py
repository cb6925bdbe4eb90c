# ruff: noqa: INP001 - copied by itself into the images, part of no package
"""The health check of the services: asks one address, prints one line, ends with 0 or 1.

``probe.py https://127.0.0.1:8443/health`` asks a port, ``probe.py unix:/run/engine/engine.sock``
a Unix socket for ``/health``. ``idle:/run/engine/state.json`` after it also accepts a service that
says there it has nothing to do. Only the standard library, and little of it: this runs every ten
seconds beside a model that wants the processor.
"""

import json
import socket
import sys

TIMEOUT_S = 4.0
FIRST_LINE = 64


def ask(where: str) -> bool:
    """Return whether the service at ``where`` answers 200."""
    if where.startswith("unix:"):
        family, path, host = socket.AF_UNIX, "/health", "engine"
        address: str | tuple[str, int] = where[5:]
    else:
        name, _, rest = where.partition("://")[2].partition("/")
        host, _, port = name.partition(":")
        family, address, path = socket.AF_INET, (host, int(port or 80)), f"/{rest}"
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        connection.connect(address)
        if where.startswith("https:"):
            connection = in_tls(connection)  # noqa: PLW2901 - the same connection, wrapped
        request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("ascii"))
        answer = connection.recv(FIRST_LINE).split(b" ", 2)
    return len(answer) > 1 and answer[1] == b"200"


def in_tls(connection: socket.socket) -> socket.socket:
    """Return the connection in TLS. Whether it answers is asked, not who: it is this container."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connection)


def idle(where: str) -> bool:
    """Return whether the service says it has nothing to do."""
    try:
        with open(where.removeprefix("idle:"), encoding="utf-8") as stream:  # noqa: PTH123 - starts faster
            return bool(json.load(stream)["state"] == "idle")
    except (OSError, ValueError, KeyError):
        return False


def main() -> int:
    """Ask what the first argument names, unless the second says the service is idle."""
    if any(idle(where) for where in sys.argv[2:]):
        sys.stdout.write("idle\n")
        return 0
    try:
        good = ask(sys.argv[1])
    except OSError as error:
        sys.stdout.write(f"no answer: {error.strerror or error}\n")
        return 1
    sys.stdout.write("answers\n" if good else "answers, but not 200\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
