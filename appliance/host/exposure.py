"""What can be reached from outside, compared with what is declared.

The scan starts in a network namespace of its own, joined to this machine by a virtual cable: its
packets come in through the firewall like those of another machine. Ports are compared in both
directions, because a declared port that does not answer is a finding too.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from appliance.core.errors import ToolFailedError, ToolMissingError
from appliance.core.errors.host import ScanUselessError
from appliance.core.settings.host import HostSettings
from appliance.host import scanner
from appliance.host.declaration import Declaration

EVERY_TCP = ((1, 65_535),)
# UDP answers prove something only where a service speaks to strangers: these are the usual ones.
USUAL_UDP = tuple((n, n) for n in (53, 67, 69, 111, 123, 137, 161, 443, 500, 514, 1900, 5353))
OUTSIDER = "198.18.7.2"  # RFC 2544: never a hospital's own network
_HERE = "198.18.7.1"
_CABLE = "appscan0"
_SCAN_SECONDS = 900


@dataclass(frozen=True)
class Seen:
    """What a scan brought back."""

    target: str
    source: str
    open: frozenset[tuple[int, str]]
    answered: bool
    self_test: bool


@dataclass(frozen=True)
class Exposure:
    """The comparison."""

    target: str
    source: str
    declared: frozenset[tuple[int, str]]
    open: frozenset[tuple[int, str]]

    @property
    def undeclared(self) -> list[str]:
        """Ports that answer and are not declared."""
        return _names(self.open - self.declared)

    @property
    def missing(self) -> list[str]:
        """Ports that are declared and do not answer."""
        return _names(self.declared - self.open)

    @property
    def ok(self) -> bool:
        """Whether exposure equals declaration exactly."""
        return self.open == self.declared

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "target": self.target,
            "source": self.source,
            "declared": _names(self.declared),
            "open": _names(self.open),
            "undeclared": self.undeclared,
            "missing": self.missing,
        }


def _names(ports: frozenset[tuple[int, str]]) -> list[str]:
    return [f"{port}/{protocol}" for port, protocol in sorted(ports)]


def compare(seen: Seen, declared: Declaration) -> Exposure:
    """Compare a scan with the declaration; a scan that proves nothing is an error.

    Positive control: the scanner told its own open port from its own closed one, and the target
    was there (it answered, or all packets of the scan arrived at it).
    """
    if not seen.self_test:
        raise ScanUselessError(
            expected="the scanner to tell an open port of its own from a closed one",
            found="it could not",
        )
    if not (seen.answered or seen.open):
        raise ScanUselessError(
            expected=f"a sign of life from {seen.target}",
            found="none, and not all packets arrived at it",
        )
    return Exposure(seen.target, seen.source, declared.open_to(seen.source), seen.open)


class Vantage(Protocol):
    """A place a scan starts from."""

    def scan(self, target: str, source: str) -> Seen:
        """Scan ``target`` with the address ``source``."""
        ...


@dataclass(frozen=True)
class NamespaceVantage:
    """A network namespace made for the scan and removed after it. Needs root.

    ``machine`` names the namespace of the machine that is scanned; None is this one. Only an
    address of that machine is ever scanned.
    """

    settings: HostSettings
    machine: str | None = None
    tcp_ports: Sequence[tuple[int, int]] = EVERY_TCP
    udp_ports: Sequence[tuple[int, int]] = USUAL_UDP

    def scan(self, target: str, source: str) -> Seen:
        """Scan ``target``, an address of the machine, with the address ``source``."""
        self._require_own(target)
        with self._cable(target, source) as space:
            request = {
                "target": target,
                "tcp_ports": self.tcp_ports,
                "udp_ports": self.udp_ports,
                "timeout_s": self.settings.scan_timeout_s,
                "parallel": self.settings.scan_parallel,
            }
            program = [sys.executable, "-I", str(Path(scanner.__file__)), json.dumps(request)]
            before = self._arrived()
            result = json.loads(_ip("netns", "exec", space, *program))
            heard = self._arrived() - before >= sum(b - a + 1 for a, b in self.tcp_ports)
        reached = {(n, p) for p in ("tcp", "udp") for n in result[p][scanner.OPEN]}
        answered = heard or any(result[p][scanner.CLOSED] for p in ("tcp", "udp"))
        return Seen(target, source, frozenset(reached), answered, bool(result["self_test"]))

    def _require_own(self, target: str) -> None:
        listing = json.loads(_ip(*self._at(), "-json", "address", "show"))
        own = {info["local"] for card in listing for info in card.get("addr_info", [])}
        if str(ipaddress.ip_address(target)) not in own:
            raise ScanUselessError(expected="an address of this machine", found=target)

    def _arrived(self) -> int:
        """Return how many packets the machine took from the cable."""
        (link,) = json.loads(_ip(*self._at(), "-json", "-s", "link", "show", "dev", _CABLE))
        packets: int = link["stats64"]["rx"]["packets"]
        return packets

    def _at(self) -> list[str]:
        return ["-n", self.machine] if self.machine else []

    @contextlib.contextmanager
    def _cable(self, target: str, source: str) -> Iterator[str]:
        space = f"appliance-scan-{os.getpid()}"
        here, bits = (_HERE, 32) if _v4(source) else ("fd00:198:18::1", 128)
        _ip("netns", "add", space)
        try:
            _ip("-n", space, "link", "set", "lo", "up")
            _ip("link", "add", _CABLE, "type", "veth", "peer", "name", "outside", "netns", space)
            if self.machine:
                _ip("link", "set", _CABLE, "netns", self.machine)
            _ip(*self._at(), "address", "add", f"{here}/{bits}", "dev", _CABLE, *_nodad(source))
            _ip(*self._at(), "link", "set", _CABLE, "up")
            _ip(*self._at(), "route", "replace", f"{source}/{bits}", "dev", _CABLE)
            _ip(
                "-n", space, "address", "add", f"{source}/{bits}", "dev", "outside", *_nodad(source)
            )
            _ip("-n", space, "link", "set", "outside", "up")
            _ip("-n", space, "route", "add", f"{target}/{bits}", "dev", "outside", "src", source)
            # A hardened machine (arp_ignore) does not say where an address of another card is.
            (link,) = json.loads(_ip(*self._at(), "-json", "link", "show", "dev", _CABLE))
            place = ["lladdr", link["address"], "dev", "outside", "nud", "permanent"]
            _ip("-n", space, "neigh", "replace", target, *place)
            yield space
        finally:
            with contextlib.suppress(ToolFailedError):
                _ip(*self._at(), "link", "del", _CABLE)
            _ip("netns", "del", space)


def _v4(address: str) -> bool:
    return ipaddress.ip_address(address).version == 4  # noqa: PLR2004 - IP version 4


def _nodad(address: str) -> list[str]:
    return [] if _v4(address) else ["nodad"]


def _ip(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["ip", *arguments],  # noqa: S607 - found on root's PATH like every tool here
            capture_output=True,
            text=True,
            timeout=_SCAN_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise ToolMissingError(expected="ip (package iproute2)", found="no such program") from error
    except subprocess.TimeoutExpired as error:
        raise ToolFailedError(expected="an answer from ip", found="none in time") from error
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1][:200]
        raise ToolFailedError(
            expected=f"ip {' '.join(arguments[:4])} to work (as root)", found=said
        )
    return done.stdout
