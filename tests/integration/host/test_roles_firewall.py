"""The rules in front of containers, loaded for real in network namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest
import yaml

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

ROOT = Path(__file__).parents[3]
ROLE = ROOT / "playbooks" / "roles" / "firewall"
POLICY = ROOT / "security" / "firewall.yaml"
DECLARED, STRANGER, CONTAINER = "198.51.100.2", "203.0.113.2", "172.30.0.2"
NETWORKS = {"admin": [], "clients": ["198.51.100.0/24"], "reviewers": []}
SERVE = """
import socket, sys
for port in map(int, sys.argv[1:]):
    s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", port)); s.listen(8); globals()[f"s{port}"] = s
print("ready", flush=True); sys.stdin.read()
"""
CALL = """
import socket, sys
s = socket.socket(); s.settimeout(1.5); s.bind((sys.argv[1], 0))
try:
    s.connect((sys.argv[2], int(sys.argv[3]))); print("open")
except OSError:
    print("closed")
"""


def rules(family: int, networks: dict[str, list[str]]) -> str:
    environment = jinja2.Environment(
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - firewall rules, not HTML
    )
    template = environment.from_string(
        (ROLE / "templates" / "containers.rules.j2").read_text("utf-8")
    )
    return template.render(
        firewall_family=family,
        firewall_pool="172.30.0.0/16",
        firewall_declared=yaml.safe_load(POLICY.read_text(encoding="utf-8")),
        firewall_networks=networks,
    )


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


@dataclass(frozen=True)
class Site:
    """A client, the appliance and a container, each in a namespace of its own."""

    name: str
    folder: Path

    def at(self, place: str, *argv: str) -> str:
        return _run("ip", "netns", "exec", f"{self.name}{place}", *argv)

    def load(self, networks: dict[str, list[str]]) -> None:
        (self.folder / "appliance.rules").write_text(rules(4, networks), encoding="utf-8")
        (self.folder / "appliance6.rules").write_text(rules(6, networks), encoding="utf-8")
        script = self.folder / "after.init"
        script.write_bytes((ROLE / "templates" / "after.init.j2").read_bytes())
        self.at("h", "env", f"APPLIANCE_RULES={self.folder}", "sh", str(script), "start")

    def reach(self, source: str, port: int) -> str:
        return self.at("c", sys.executable, "-c", CALL, source, "192.0.2.1", str(port)).strip()

    def reach_out(self, port: int) -> str:
        return self.at("d", sys.executable, "-c", CALL, CONTAINER, DECLARED, str(port)).strip()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(f"fw{os.getpid()}", tmp_path)
    servers: list[subprocess.Popen[str]] = []
    try:
        for place in "chd":
            _run("ip", "netns", "add", f"{made.name}{place}")
            made.at(place, "ip", "link", "set", "lo", "up")
        _wire(made, "c", "lan", (f"{DECLARED}/24", f"{STRANGER}/24"), "192.0.2.1/24")
        _wire(made, "d", "box", (f"{CONTAINER}/16",), "172.30.0.1/16")
        made.at("c", "ip", "route", "add", "192.0.2.0/24", "dev", "lan-in")
        made.at("h", "ip", "route", "add", "198.51.100.0/24", "dev", "lan-out")
        made.at("h", "ip", "route", "add", "203.0.113.0/24", "dev", "lan-out")
        made.at("d", "ip", "route", "add", "default", "via", "172.30.0.1")
        made.at("c", "ip", "route", "add", "172.30.0.0/16", "via", "192.0.2.1")
        made.at("h", "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        # What the engine does when it publishes 8443 (declared) and 9999 (nobody declared it).
        made.at("h", "iptables", "-N", "DOCKER-USER")
        made.at("h", "iptables", "-A", "DOCKER-USER", "-p", "tcp", "--dport", "7", "-j", "ACCEPT")
        made.at("h", "iptables", "-A", "FORWARD", "-j", "DOCKER-USER")
        for port in ("8443", "9999"):
            nat = ("iptables", "-t", "nat", "-A", "PREROUTING", "-p", "tcp", "-d", "192.0.2.1")
            made.at("h", *nat, "--dport", port, "-j", "DNAT", "--to", f"{CONTAINER}:{port}")
        servers = [_serve(made, "d", "8443", "9999"), _serve(made, "c", "443")]
        yield made
    finally:
        for server in servers:
            server.kill()
            server.communicate()
        for place in "chd":
            subprocess.run(["ip", "netns", "del", f"{made.name}{place}"], check=False)


def _wire(site: Site, place: str, name: str, inside: tuple[str, ...], outside: str) -> None:
    far = ("netns", f"{site.name}{place}")
    _run(
        *("ip", "link", "add", f"{name}-out", "netns", f"{site.name}h", "type", "veth"),
        *("peer", "name", f"{name}-in", *far),
    )
    for address in inside:
        site.at(place, "ip", "addr", "add", address, "dev", f"{name}-in")
    site.at("h", "ip", "addr", "add", outside, "dev", f"{name}-out")
    site.at(place, "ip", "link", "set", f"{name}-in", "up")
    site.at("h", "ip", "link", "set", f"{name}-out", "up")


def _serve(site: Site, place: str, *ports: str) -> subprocess.Popen[str]:
    argv = ["ip", "netns", "exec", f"{site.name}{place}", sys.executable, "-c", SERVE, *ports]
    server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"
    return server


def test_only_declared_networks_reach_declared_ports(site: Site) -> None:
    before = [site.reach(STRANGER, 8443), site.reach(STRANGER, 9999), site.reach_out(443)]
    assert before == ["open", "open", "open"]  # so the test would see an open door
    site.load(NETWORKS)
    assert site.reach(DECLARED, 8443) == "open"
    assert site.reach(STRANGER, 8443) == "closed"
    assert site.reach(DECLARED, 9999) == "closed"
    assert site.reach(STRANGER, 9999) == "closed"
    assert site.reach_out(443) == "closed"


def test_without_a_declared_network_everything_is_closed(site: Site) -> None:
    site.load({"admin": [], "clients": [], "reviewers": []})
    assert site.reach(DECLARED, 8443) == "closed"


def test_rules_of_others_stay_and_loading_again_changes_nothing(site: Site) -> None:
    site.load(NETWORKS)
    first = site.at("h", "iptables", "-S") + site.at("h", "ip6tables", "-S")
    site.load(NETWORKS)
    again = site.at("h", "iptables", "-S") + site.at("h", "ip6tables", "-S")
    assert again == first
    chain = site.at("h", "iptables", "-S", "DOCKER-USER").splitlines()
    assert chain[1] == "-A DOCKER-USER -j appliance-docker"
    assert "--dport 7 -j ACCEPT" in chain[2]


def test_our_chain_goes_back_to_the_front_when_others_put_theirs_there(site: Site) -> None:
    site.load(NETWORKS)
    site.at("h", "iptables", "-I", "DOCKER-USER", "1", "-p", "tcp", "--dport", "9", "-j", "ACCEPT")
    site.load(NETWORKS)
    chain = site.at("h", "iptables", "-S", "DOCKER-USER").splitlines()
    assert chain[1] == "-A DOCKER-USER -j appliance-docker"
    assert [line for line in chain if "appliance-docker" in line] == [chain[1]]
    assert any("--dport 9 " in line for line in chain)


def test_ipv6_is_closed_too(site: Site) -> None:
    site.load(NETWORKS | {"clients": ["2001:db8:1::/64"]})
    chain = site.at("h", "ip6tables", "-S", "appliance-docker").splitlines()
    assert chain[-1] == "-A appliance-docker -j DROP"
    (let_in,) = [line for line in chain if "--ctorigdstport" in line]
    assert "-s 2001:db8:1::/64" in let_in and "--ctorigdstport 8443" in let_in
    assert (
        site.at("h", "ip6tables", "-S", "DOCKER-USER")
        .splitlines()[1]
        .endswith("-j appliance-docker")
    )
