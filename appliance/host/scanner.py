"""Which ports of an address answer: a TCP connect scan and a UDP probe, standard library only.

Run as a program it prints one JSON object, so that it can start inside another network namespace:
``python -I scanner.py '{"target": ..., "ports": [...], ...}'``. It scans what it is told and
proves first that it can tell open from closed (two ports of its own on loopback).
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from collections.abc import Iterable
from typing import Any

OPEN, CLOSED, SILENT = "open", "closed", "silent"


async def tcp(target: str, port: int, timeout_s: float) -> str:
    """Return whether a connection opens, is refused, or nobody answers."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(target, port), timeout_s)
    except ConnectionRefusedError:
        return CLOSED
    except (TimeoutError, OSError):
        return SILENT
    writer.close()
    return OPEN


async def udp(target: str, port: int, timeout_s: float) -> str:
    """Return open when something answers, closed when the machine says so, else silent."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    loop = asyncio.get_running_loop()
    with socket.socket(family, socket.SOCK_DGRAM) as port_socket:
        port_socket.settimeout(0)
        try:
            port_socket.connect((target, port))
            # 12 bytes of zeros: an empty DNS query, a short NTP packet; enough for an answer
            await loop.sock_sendall(port_socket, bytes(12))
            await asyncio.wait_for(loop.sock_recv(port_socket, 512), timeout_s)
        except ConnectionRefusedError:
            return CLOSED
        except (TimeoutError, OSError):
            return SILENT
    return OPEN


async def scan(
    target: str, ports: Iterable[int], protocol: str, timeout_s: float, parallel: int
) -> dict[str, list[int]]:
    """Ask every port; return the ports by answer."""
    ask = tcp if protocol == "tcp" else udp
    found: dict[str, list[int]] = {OPEN: [], CLOSED: [], SILENT: []}
    waiting = iter(ports)

    async def worker() -> None:
        for port in waiting:
            found[await ask(target, port, timeout_s)].append(port)

    await asyncio.gather(*(worker() for _ in range(parallel)))
    return {answer: sorted(numbers) for answer, numbers in found.items()}


async def self_test(timeout_s: float) -> bool:
    """Tell a listening port from a free one on loopback."""
    with socket.socket() as listening, socket.socket() as free:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        free.bind(("127.0.0.1", 0))
        seen = await tcp("127.0.0.1", listening.getsockname()[1], timeout_s)
        unseen = await tcp("127.0.0.1", free.getsockname()[1], timeout_s)
    return seen == OPEN and unseen == CLOSED


async def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Do what ``request`` asks for."""
    timeout_s, parallel = float(request["timeout_s"]), int(request["parallel"])
    result: dict[str, Any] = {"self_test": await self_test(max(timeout_s, 1.0))}
    for protocol in ("tcp", "udp"):
        result[protocol] = await scan(
            request["target"], request[f"{protocol}_ports"], protocol, timeout_s, parallel
        )
    return result


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    for key in ("tcp_ports", "udp_ports"):
        asked[key] = [n for low, high in asked[key] for n in range(low, high + 1)]
    print(json.dumps(asyncio.run(answer(asked))))  # noqa: T201 - its answer to the caller
