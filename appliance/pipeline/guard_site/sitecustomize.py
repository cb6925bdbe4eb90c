"""The network guard: refuses, in Python, every socket call that leaves this machine.

``pipeline/isolation.py`` installs it in the pipeline's own process; Python children load it as
``sitecustomize`` because this folder is on their ``PYTHONPATH``. It needs the standard library
only, since children may run in an environment without the appliance's packages.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path
from typing import Any

LOG_VARIABLE = "APPLIANCE_NETWORK_GUARD_LOG"
# Audit events (PEP 578) -> which argument holds the address or the host name.
WATCHED = {"socket.connect": 1, "socket.sendto": 1, "socket.sendmsg": 1, "socket.getaddrinfo": 0}


def is_loopback(address: Any) -> bool:
    """Say whether a socket address or a host stays on this machine (Unix paths do)."""
    if isinstance(address, tuple):
        address = address[0] if address else ""
    elif isinstance(address, (str, bytes)):
        return True  # the path of a Unix socket
    if isinstance(address, bytes):
        address = address.decode("ascii", "replace")
    if address in ("localhost", "", None):
        return True
    try:
        return ipaddress.ip_address(str(address).split("%")[0]).is_loopback
    except ValueError:
        return False


def install(log: Path) -> None:
    """Refuse such calls from now on and write a line to ``log`` for each (it cannot be undone)."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        where = WATCHED.get(event)
        if where is None:
            return
        address = arguments[where]
        if not is_loopback((address,) if event == "socket.getaddrinfo" else address):
            with log.open("a", encoding="ascii") as stream:
                stream.write(f"{os.getpid()} {event}\n")
            raise PermissionError(13, "the offline guard refuses to leave this machine")

    sys.addaudithook(hook)


if __name__ == "sitecustomize" and LOG_VARIABLE in os.environ:
    install(Path(os.environ[LOG_VARIABLE]))
