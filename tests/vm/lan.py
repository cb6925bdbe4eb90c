"""One isolated cable: a namespace of this machine with three networks and a stranger on it.

The guest's card ends in a tap device of the namespace, which has no way out. Each source address
scans as itself; administrators seeing SSH is the positive control of the scanner.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

from tests.vm.guest import LAN_MAC, LAN_TAP, Guest, GuestError

NAMESPACE = "proof-lan"
ADDRESS = "10.77.0.7/24"
ADMINS, CLIENTS, REVIEWERS = "10.77.0.16/28", "10.77.0.32/28", "10.77.0.48/28"
SOURCES = {
    "admin": "10.77.0.17",
    "clients": "10.77.0.33",
    "reviewers": "10.77.0.49",
    "stranger": "10.77.0.200",
}
DECLARED = {"admin": [22], "clients": [8443], "reviewers": [8444], "stranger": []}
# Runs inside the namespace: which TCP ports answer to this source address.
_SCAN = """
import asyncio, json, sys
target, source, first, last, wait = sys.argv[1], sys.argv[2], *map(float, sys.argv[3:])
async def main():
    gate, found = asyncio.Semaphore(400), []
    async def ask(port):
        async with gate:
            try:
                _, out = await asyncio.wait_for(
                    asyncio.open_connection(target, port, local_addr=(source, 0)), wait)
            except (OSError, TimeoutError, asyncio.TimeoutError):
                return
            found.append(port)
            out.close()
    await asyncio.gather(*(ask(p) for p in range(int(first), int(last) + 1)))
    print(json.dumps(sorted(found)))
asyncio.run(main())
"""


@dataclass
class Cable:
    """The namespace; made when the card is wanted, gone afterwards."""

    name: str = NAMESPACE

    def plug(self) -> None:
        """Make it, with every source's address on the tap device."""
        self.unplug()
        _ip("netns", "add", self.name)
        self.inside("ip", "tuntap", "add", "dev", LAN_TAP, "mode", "tap")
        for address in SOURCES.values():
            self.inside("ip", "address", "add", f"{address}/24", "dev", LAN_TAP)
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "link", "set", LAN_TAP, "up")

    def unplug(self) -> None:
        """Remove it."""
        subprocess.run(["ip", "netns", "delete", self.name], check=False, capture_output=True)

    def inside(self, *command: str) -> str:
        """Run a program in the namespace; return what it printed."""
        words = ["ip", "netns", "exec", self.name, *command]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout

    def open_ports(self, source: str, first: int, last: int, wait_s: float) -> list[int]:
        """Return the TCP ports of the guest that answer to ``source``."""
        target = ADDRESS.partition("/")[0]
        limits = (str(first), str(last), str(wait_s))
        out = self.inside(sys.executable, "-c", _SCAN, target, source, *limits)
        value = json.loads(out)
        assert isinstance(value, list)
        return value


def card(guest: Guest) -> str:
    """Return the guest's name of its card."""
    line = guest.must(f"ip -o link | grep -i {LAN_MAC}")
    return line.split(":")[1].strip()


def scan(guest: Guest, cable: Cable) -> str:
    """Compare what each source reaches with the declaration, exactly.

    An undeclared program listens in the guest meanwhile: nobody may reach it.
    """
    guest.must("systemd-run --quiet --unit=proof-listener python3 -m http.server 9191")
    told = []
    for who, source in SOURCES.items():
        wanted = DECLARED[who]
        sure = [p for p in (22, 8443, 8444) if cable.open_ports(source, p, p, 8.0)]
        last = 65_535 if who == "stranger" else 10_000
        found = sorted({*sure, *cable.open_ports(source, 1, last, 0.5)})
        if found != wanted:
            raise GuestError(f"{who} reaches {found}, declared are {wanted}")
        told.append(f"{who} {found}")
    guest.must("systemctl stop proof-listener")
    return "; ".join(told)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
