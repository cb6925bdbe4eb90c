"""The writer's socket: where it stands, who may connect, and what a connection holds."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from appliance.audit.shardlog import Peer
from appliance.core.home import Home

SOCKET_NAME = "audit.sock"
SUN_PATH_BYTES = 107  # sockaddr_un.sun_path has 108, the last for the terminating zero
_CREDENTIALS = struct.Struct("3i")


def socket_path(home: Home) -> Path:
    """Return where the writer's socket stands."""
    return home.run / SOCKET_NAME


@contextlib.contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Yield a name for ``path`` that fits a socket address, however deep the home lies.

    A long path goes through ``/proc/self/fd``: the folder's descriptor stands for its name.
    """
    text = str(path)
    if len(os.fsencode(text)) <= SUN_PATH_BYTES:
        yield text
        return
    fd = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}/{path.name}"
    finally:
        os.close(fd)


def listen(path: Path, backlog: int) -> socket.socket:
    """Bind the socket; the caller holds the writer's lock, so an old socket is a dead one."""
    path.unlink(missing_ok=True)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with short_path(path) as name:
        server.bind(name)
    path.chmod(0o660)
    server.listen(backlog)
    server.settimeout(0.0)
    return server


def peer_of(connection: socket.socket) -> Peer:
    """Ask the kernel who connected (``SO_PEERCRED``; a process cannot choose the answer)."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return Peer(pid, uid)


def may_write(peer: Peer, allowed: list[int]) -> bool:
    """Say whether ``peer`` may write: root, the writer's own user, or a user of the settings."""
    return peer.uid in {0, os.getuid(), *allowed}


@dataclass(eq=False)
class Connection:
    """One peer's connection: what it sent and did not finish, what it has not read yet."""

    socket: socket.socket
    peer: Peer
    received: bytearray = field(default_factory=bytearray)
    to_send: bytearray = field(default_factory=bytearray)
    closing: bool = False
    writing: bool = False  # registered for writing
    open: bool = True
