"""Offline, proven: the pipeline runs where there is no network, and attempts are counted.

Two means. The guard is always on; the namespace is added wherever the kernel allows it, and
the report says which held:

* ``namespace``: a network namespace with loopback only (as root, or in a user namespace where
  the kernel lets an ordinary user make one). The kernel itself has nowhere to send a packet,
  for this process and every child; attempts show in its ``OutNoRoutes`` counters.
* ``guard``: a Python audit hook (PEP 578) in this process and, through a ``sitecustomize``
  folder on ``PYTHONPATH``, in every Python child. It refuses and counts name look-ups and
  sockets to anything but loopback. Alone, it does not see sockets opened by compiled code.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from appliance.pipeline.guard_site.sitecustomize import LOG_VARIABLE, install

CLONE_NEWUSER = 0x10000000  # linux/sched.h
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1  # linux/sockios.h, linux/if.h
GUARD_FOLDER = Path(__file__).with_name("guard_site")


@dataclass(frozen=True)
class Isolation:
    """How this run is kept off the network and how to count what was refused."""

    means: str  # "namespace" | "guard"
    detail: str
    count: Callable[[], int]

    def attempts(self) -> int:
        """Return how many connection attempts were refused since isolation began."""
        return self.count()


def enter(guard_log: Path) -> Isolation:
    """Cut this process (and its children from now on) off every network but loopback.

    Call it before any thread starts: a namespace belongs to the calling thread. ``guard_log``
    is where the guard, when it must be used, writes one line for each refused attempt.
    """
    reason = _enter_namespace()
    _install_guard(guard_log)
    alone = [name for _, name in socket.if_nameindex()] == ["lo"]
    if reason is not None and not alone:
        return Isolation(
            "guard",
            f"Python audit hook only (no own network namespace: {reason})",
            lambda: guard_count(guard_log),
        )
    base = no_route_count()
    whose = "the container's" if reason is not None else "own"
    return Isolation(
        "namespace",
        f"{whose} network namespace with loopback only, and a Python audit hook",
        lambda: no_route_count() - base + guard_count(guard_log),
    )


def _enter_namespace() -> str | None:
    """Enter a namespace with loopback only; return None, or why that cannot be done."""
    libc = ctypes.CDLL(None, use_errno=True)
    uid, gid = os.getuid(), os.getgid()
    flags = CLONE_NEWNET if uid == 0 else CLONE_NEWNET | CLONE_NEWUSER
    if libc.unshare(flags) != 0:
        return os.strerror(ctypes.get_errno())
    try:
        if uid != 0:
            Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
            Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
            Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")
        _loopback_up()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | IFF_UP, b""))


def no_route_count() -> int:
    """Return how often this network namespace had no route for a packet (IPv4 and IPv6).

    Source: ``/proc/net/snmp`` (Ip OutNoRoutes) and ``/proc/net/snmp6`` (Ip6OutNoRoutes).
    """
    lines = Path("/proc/self/net/snmp").read_text(encoding="ascii").splitlines()
    header, values = (line.split() for line in lines if line.startswith("Ip: "))
    total = int(values[header.index("OutNoRoutes")])
    six = Path("/proc/self/net/snmp6")
    if six.exists():
        for line in six.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == "Ip6OutNoRoutes":
                total += int(value)
    return total


def _install_guard(guard_log: Path) -> None:
    guard_log.parent.mkdir(parents=True, exist_ok=True)
    guard_log.write_bytes(b"")
    os.environ[LOG_VARIABLE] = str(guard_log)
    before = os.environ.get("PYTHONPATH")
    folder = str(GUARD_FOLDER)
    os.environ["PYTHONPATH"] = f"{folder}{os.pathsep}{before}" if before else folder
    install(guard_log)


def guard_count(guard_log: Path) -> int:
    """Return how many calls the guard refused, in this process and its Python children."""
    return len(guard_log.read_bytes().splitlines()) if guard_log.exists() else 0
