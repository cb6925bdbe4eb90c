"""In network namespaces of their own: a machine with a firewall, and nothing else is touched."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors.host import EgressCounterError, ScanUselessError
from appliance.core.home import Home
from appliance.core.settings.host import HostSettings, Networks
from appliance.host.declaration import Declaration
from appliance.host.egress import declared_networks, ruleset
from appliance.host.egress_store import SystemNft, daily_report, names_file
from appliance.host.exposure import OUTSIDER, NamespaceVantage, compare
from appliance.host.firewall_rules import Opening

pytestmark = pytest.mark.root

ADDRESS = "10.77.1.10"
CLIENT = "10.77.2.20"
LISTENER = """
import socket, sys, time
held = []
for port in map(int, sys.argv[1:]):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("0.0.0.0", port)); s.listen(64); held.append(s)
print("ready", flush=True)
time.sleep(600)
"""
FIREWALL = """
table inet guard {{
  chain incoming {{
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
    ip saddr {networks} tcp dport {{ {ports} }} accept
  }}
}}
"""
SITE = HostSettings(
    scan_timeout_s=0.4, scan_parallel=256, networks=Networks(clients=("10.77.2.0/24",))
)
PORTS = ((8400, 8460),)


def sh(*command: str, text: str = "") -> str:
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, timeout=60
    ).stdout


@pytest.fixture
def machine() -> Iterator[str]:
    name = f"machine-{os.getpid()}"
    sh("ip", "netns", "add", name)
    try:
        sh("ip", "-n", name, "link", "set", "lo", "up")
        sh("ip", "-n", name, "link", "add", "lan0", "type", "veth", "peer", "lan1")
        sh("ip", "-n", name, "link", "set", "lan1", "up")
        sh("ip", "-n", name, "address", "add", f"{ADDRESS}/24", "dev", "lan0")
        sh("ip", "-n", name, "link", "set", "lan0", "up")
        sh("ip", "-n", name, "route", "add", "default", "via", "10.77.1.1", "dev", "lan0")
        sh(
            "ip",
            "-n",
            name,
            "neigh",
            "add",
            "10.77.1.1",
            "lladdr",
            "02:00:00:00:00:01",
            "dev",
            "lan0",
        )
        yield name
    finally:
        sh("ip", "netns", "del", name)


@contextlib.contextmanager
def listening(machine: str, *ports: int) -> Iterator[None]:
    command = ["ip", "netns", "exec", machine, sys.executable, "-I", "-c", LISTENER]
    with subprocess.Popen([*command, *map(str, ports)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        try:
            yield
        finally:
            child.kill()


def guard(machine: str, ports: str, networks: str = "10.77.2.0/24") -> None:
    rules = FIREWALL.format(ports=ports, networks=networks)
    sh("ip", "netns", "exec", machine, "nft", "-f", "-", text=rules)


def declared(*ports: int) -> Declaration:
    return Declaration(SITE, published=tuple(Opening("10.77.2.0/24", p, "tcp") for p in ports))


def vantage(machine: str) -> NamespaceVantage:
    return NamespaceVantage(SITE, machine, PORTS, ())


def test_exposure_that_equals_the_declaration_is_right(machine: str) -> None:
    guard(machine, "8443, 8444")
    with listening(machine, 8443, 8444, 8450):
        inside = compare(vantage(machine).scan(ADDRESS, CLIENT), declared(8443, 8444))
        outside = compare(vantage(machine).scan(ADDRESS, OUTSIDER), declared(8443, 8444))
    assert inside.ok
    assert inside.to_dict()["open"] == ["8443/tcp", "8444/tcp"]
    assert outside.ok
    assert outside.to_dict()["open"] == []


def test_a_machine_that_keeps_its_addresses_to_each_card_is_scanned_too(machine: str) -> None:
    """Hardening sets arp_ignore: the cable's end does not answer for another card's address."""
    sh("ip", "netns", "exec", machine, "sysctl", "-qw", "net.ipv4.conf.all.arp_ignore=2")
    guard(machine, "8443")
    with listening(machine, 8443, 8450):
        inside = compare(vantage(machine).scan(ADDRESS, CLIENT), declared(8443))
        outside = compare(vantage(machine).scan(ADDRESS, OUTSIDER), declared(8443))
    assert inside.to_dict()["open"] == ["8443/tcp"]
    assert outside.to_dict()["open"] == []


def test_a_port_nobody_declared_is_named(machine: str) -> None:
    guard(machine, "8443, 8450")
    with listening(machine, 8443, 8450):
        found = compare(vantage(machine).scan(ADDRESS, CLIENT), declared(8443))
    assert not found.ok
    assert found.undeclared == ["8450/tcp"]
    assert found.missing == []


def test_a_firewall_that_is_off_is_seen_by_a_stranger(machine: str) -> None:
    with listening(machine, 8443, 8450):
        found = compare(vantage(machine).scan(ADDRESS, OUTSIDER), declared(8443))
    assert found.undeclared == ["8443/tcp", "8450/tcp"]


def test_a_declared_port_that_does_not_answer_is_named(machine: str) -> None:
    guard(machine, "8443, 8444")
    with listening(machine, 8443):
        found = compare(vantage(machine).scan(ADDRESS, CLIENT), declared(8443, 8444))
    assert not found.ok
    assert found.missing == ["8444/tcp"]


def test_an_address_of_another_machine_is_never_scanned(machine: str) -> None:
    with pytest.raises(ScanUselessError):
        vantage(machine).scan("10.77.1.11", CLIENT)


def test_nothing_of_the_scan_stays(machine: str) -> None:
    with listening(machine, 8443):
        vantage(machine).scan(ADDRESS, OUTSIDER)
    links = json.loads(sh("ip", "-n", machine, "-json", "link", "show"))
    assert sorted(link["ifname"] for link in links) == ["lan0", "lan1", "lo"]
    assert f"appliance-scan-{os.getpid()}" not in sh("ip", "netns", "list")


SENDER = """
import socket, sys
for where in sys.argv[1:]:
    host, port = where.rsplit(":", 1)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", (host, int(port)))
"""


def send(machine: str, *where: str) -> None:
    sh("ip", "netns", "exec", machine, sys.executable, "-I", "-c", SENDER, *where)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").prepare()


AT = datetime(2026, 3, 1, 23, 0, tzinfo=UTC)


def test_what_tries_to_leave_is_counted_and_named_once(machine: str, home: Home) -> None:
    nft, recorder = SystemNft(machine), MemoryRecorder("host")
    nft.load(ruleset(declared_networks(SITE), SITE.container_pool))
    send(machine, "10.77.2.5:9", "127.0.0.1:9", "172.30.4.4:9")
    quiet = daily_report(home, nft, recorder, AT)
    assert quiet["ok"]
    assert quiet["attempts"] == 0
    send(machine, "203.0.113.7:443", "203.0.113.7:443", "198.51.100.9:53")
    loud = daily_report(home, nft, recorder, AT.replace(hour=1, day=2))
    assert not loud["ok"]
    assert loud["host_packets"] == 3
    assert set(loud["destinations"]) == {"203.0.113.7 udp", "198.51.100.9 udp"}
    assert sum(loud["destinations"].values()) == 3
    again = daily_report(home, nft, recorder, AT.replace(hour=1, day=3))
    assert again["ok"]
    assert [e.outcome for e in recorder.events if e.phase == "outcome"] == [
        "success",
        "refused",
        "success",
    ]
    assert "203.0.113.7" not in " ".join(e.model_dump_json() for e in recorder.events)


def test_a_firewall_that_drops_does_not_hide_the_attempt(machine: str, home: Home) -> None:
    nft = SystemNft(machine)
    nft.load(ruleset(declared_networks(SITE), SITE.container_pool))
    rules = (
        "table inet shut {\n chain leaving {\n"
        "  type filter hook output priority 0; policy drop;\n }\n}\n"
    )
    sh("ip", "netns", "exec", machine, "nft", "-f", "-", text=rules)
    with contextlib.suppress(subprocess.CalledProcessError):  # the sender is told EPERM
        send(machine, "203.0.113.7:443")
    assert daily_report(home, nft, MemoryRecorder("host"), AT)["host_packets"] == 1


def test_names_that_were_asked_are_in_the_report(machine: str, home: Home) -> None:
    nft = SystemNft(machine)
    nft.load(ruleset((), SITE.container_pool))
    names_file(home).write_text('{"updates.invalid": 2}', encoding="utf-8")
    first = daily_report(home, nft, MemoryRecorder("host"), AT)
    assert first["names"] == {"updates.invalid": 2}
    assert not first["ok"]
    assert daily_report(home, nft, MemoryRecorder("host"), AT.replace(day=2))["ok"]


def test_counters_that_began_anew_are_said(machine: str, home: Home) -> None:
    nft = SystemNft(machine)
    nft.load(ruleset((), SITE.container_pool))
    assert not daily_report(home, nft, MemoryRecorder("host"), AT)["counters_restarted"]
    nft.load(ruleset((), SITE.container_pool))
    assert daily_report(home, nft, MemoryRecorder("host"), AT.replace(day=2))["counters_restarted"]


def test_a_machine_without_the_counters_is_not_called_quiet(machine: str, home: Home) -> None:
    with pytest.raises(EgressCounterError):
        daily_report(home, SystemNft(machine), MemoryRecorder("host"), AT)
