#!/usr/bin/python3
"""Ask the local network whether an IPv4 address is in use (RFC 5227, 2.1.1: an ARP probe).

    address_taken.py CARD ADDRESS

Prints ``free`` or ``taken``; exit code 2 when it could not ask. The probe has no sender address,
so it changes no neighbour's table.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from pathlib import Path

PROBES = 3
WAIT_S = 1.0
ARP = 0x0806
BROADCAST = b"\xff" * 6


def probe(mac: bytes, address: bytes) -> bytes:
    """Return the frame that asks who has ``address``."""
    head = BROADCAST + mac + struct.pack("!H", ARP)
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return head + body + mac + bytes(4) + bytes(6) + address


def answers(frame: bytes, mac: bytes, address: bytes) -> bool:
    """Return True when ``frame`` says that another card has, or wants, ``address``."""
    if len(frame) < 42 or frame[12:14] != struct.pack("!H", ARP):  # noqa: PLR2004 - ARP's length
        return False
    sender_mac, sender, target = frame[22:28], frame[28:32], frame[38:42]
    if sender_mac == mac:
        return False
    return sender == address or (sender == bytes(4) and target == address)


def main() -> int:
    """Run."""
    card, text = sys.argv[1], sys.argv[2]
    address = socket.inet_aton(text)
    mac = bytes.fromhex(Path(f"/sys/class/net/{card}/address").read_text().strip().replace(":", ""))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ARP)) as raw:
        raw.bind((card, ARP))
        for _ in range(PROBES):
            raw.send(probe(mac, address))
            until = time.monotonic() + WAIT_S
            while (left := until - time.monotonic()) > 0:
                raw.settimeout(left)
                try:
                    if answers(raw.recv(2048), mac, address):
                        sys.stdout.write("taken\n")
                        return 0
                except TimeoutError:
                    break
    sys.stdout.write("free\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, IndexError, ValueError) as problem:
        sys.stderr.write(f"could not ask: {type(problem).__name__}\n")
        sys.exit(2)
