"""What tried to leave this machine: counters in the kernel, and the day's report.

A table of its own in nftables counts, before any other firewall rule can drop them, packets of
this machine and of its containers that start something towards an address nobody declared.
Expected is zero; what was sent as an answer to an allowed client is not counted.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

from appliance.core.errors.host import EgressCounterError
from appliance.core.settings.host import HostSettings

TABLE = "appliance_egress"
_MAX_DESTINATIONS = 1024  # addresses kept of one day; the counters go on beyond it
_LINK_LOCAL = {4: ("127.0.0.0/8",), 6: ("::1/128",)}


class Nft(Protocol):
    """The kernel's packet filter."""

    def load(self, ruleset: str) -> None:
        """Put in a rule set, all or nothing."""
        ...

    def listing(self) -> dict[str, Any]:
        """Return ``nft --json list table inet appliance_egress``."""
        ...


@dataclass(frozen=True)
class Counted:
    """Packets since the table was put in."""

    host: int
    containers: int
    destinations: dict[str, int]
    handle: int

    @property
    def total(self) -> int:
        """All attempts."""
        return self.host + self.containers


def declared_networks(site: HostSettings) -> tuple[str, ...]:
    """Return where this machine may send: its clients' networks, declared servers, containers."""
    named = [*site.networks.admin, *site.networks.clients, *site.networks.reviewers]
    named += [rule.to for rule in site.outbound]
    named += [str(ipaddress.ip_network(server)) for server in site.time_servers if _address(server)]
    return tuple(sorted({*named, site.container_pool}))


def _address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def ruleset(allowed: Iterable[str], pool: str) -> str:
    """Return the rule set that counts; putting it in again starts the counters anew."""
    networks = [ipaddress.ip_network(text) for text in allowed]
    sets = "".join(
        _set(f"allowed{version}", f"ipv{version}_addr", version, networks) for version in (4, 6)
    )
    seen = "".join(
        f"  set seen{v} {{ type ipv{v}_addr . inet_proto; size {_MAX_DESTINATIONS}; "
        "flags dynamic; counter; }\n"
        for v in (4, 6)
    )
    common = "".join(
        f"    {word} daddr @allowed{v} return\n" for v, word in ((4, "ip"), (6, "ip6"))
    )
    remember = (
        "    ip daddr != 0.0.0.0 update @seen4 { ip daddr . ip protocol }\n"
        "    ip6 nexthdr != 255 update @seen6 { ip6 daddr . ip6 nexthdr }\n"
    )
    return (
        f"table inet {TABLE} {{}}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\n"
        f"  counter host {{}}\n  counter containers {{}}\n{sets}{seen}"
        "  chain leaving {\n    type filter hook output priority -150; policy accept;\n"
        '    oifname "lo" return\n    ct state established,related return\n'
        # A card asks its neighbours who has an address; that never leaves the cable.
        "    icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert,"
        " mld-listener-report, mld2-listener-report } return\n"
        f"{common}    counter name host\n{remember}  }}\n"
        "  chain passing {\n    type filter hook forward priority -150; policy accept;\n"
        f"    ip saddr != {pool} return\n    ct state established,related return\n"
        f"{common}    counter name containers\n{remember}  }}\n}}\n"
    )


def _set(name: str, kind: str, version: int, networks: list[Any]) -> str:
    own = [n for n in networks if n.version == version]
    own += [ipaddress.ip_network(text) for text in _LINK_LOCAL[version]]
    merged = ", ".join(str(n) for n in ipaddress.collapse_addresses(own))
    return f"  set {name} {{ type {kind}; flags interval; elements = {{ {merged} }} }}\n"


def counted(listing: dict[str, Any]) -> Counted:
    """Read the counters from nft's JSON; raise :class:`EgressCounterError`."""
    packets: dict[str, int] = {}
    destinations: dict[str, int] = {}
    handle = -1
    for item in listing.get("nftables", []):
        if "table" in item:
            handle = int(item["table"].get("handle", -1))
        if "counter" in item:
            packets[item["counter"]["name"]] = int(item["counter"]["packets"])
        if "set" in item and item["set"]["name"].startswith("seen"):
            destinations |= dict(map(_destination, item["set"].get("elem", [])))
    if not {"host", "containers"} <= packets.keys():
        raise EgressCounterError(
            expected=f"the counters of the table inet {TABLE}",
            found=", ".join(sorted(packets)) or "none",
        )
    return Counted(packets["host"], packets["containers"], destinations, handle)


def _destination(element: Any) -> tuple[str, int]:
    inner = element.get("elem", element) if isinstance(element, dict) else element
    value = inner["val"]["concat"] if "val" in inner else inner["concat"]
    count = int(inner.get("counter", {}).get("packets", 0))
    return f"{value[0]} {value[1]}", count


def since(now: Counted, before: dict[str, Any] | None, boot: str) -> tuple[Counted, bool]:
    """Return what was counted since the last report, and whether something may be missing.

    ``before`` is what :func:`mark` made then. After a restart, or when the table was put in anew,
    the counters began at zero: all of them count, and what came between is not known.
    """
    if before is None:
        return now, False
    if before.get("boot") != boot or before.get("handle") != now.handle:
        return now, True
    old = before["destinations"]
    fresh = {k: n - old.get(k, 0) for k, n in now.destinations.items() if n > old.get(k, 0)}
    return (
        Counted(
            now.host - before["host"], now.containers - before["containers"], fresh, now.handle
        ),
        False,
    )


def mark(now: Counted, boot: str) -> dict[str, Any]:
    """Return what the next report starts from."""
    return {
        "boot": boot,
        "handle": now.handle,
        "host": now.host,
        "containers": now.containers,
        "destinations": now.destinations,
    }


def report(fresh: Counted, names: dict[str, int], *, gap: bool, day: str) -> dict[str, Any]:
    """Return the day's report; it is good when nothing tried to leave."""
    asked = sum(names.values())
    return {
        "ok": fresh.total == 0 and asked == 0,
        "day": day,
        "expected": 0,
        "attempts": fresh.total + asked,
        "host_packets": fresh.host,
        "container_packets": fresh.containers,
        "names_asked": asked,
        "destinations": dict(sorted(fresh.destinations.items())),
        "names": dict(sorted(names.items())),
        "counters_restarted": gap,
    }


def parse_listing(text: str) -> dict[str, Any]:
    """Read nft's JSON."""
    try:
        value = json.loads(text)
    except ValueError as error:
        raise EgressCounterError(expected="JSON from nft", found="other text") from error
    return value if isinstance(value, dict) else {}
