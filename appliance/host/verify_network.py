"""The firewall, both ways and for containers too, and the way in over SSH."""

from __future__ import annotations

from collections.abc import Callable

from appliance.host.checks import Check, Question
from appliance.host.declaration import Declaration
from appliance.host.firewall_rules import differences, own_chain, parse_rules, policies
from appliance.host.machine import Machine

_FIREWALL = "Run: appliance host provision. Rules of others are kept or named, never dropped."
_IPTABLES = {4: "iptables", 6: "ip6tables"}
_GRACE_S = 60
_TRIES = 4


def network_checks(machine: Machine, declared: Declaration) -> list[Check]:
    """Return the checks of the firewall and of SSH."""
    return [
        _ufw(machine),
        *(_policies(machine, version) for version in _IPTABLES),
        *(_published(machine, declared, version) for version in _IPTABLES),
        _sshd(machine),
        _time(machine, declared),
    ]


def _ufw(machine: Machine) -> Check:
    question = Question("firewall", "ufw active, incoming and outgoing denied", _FIREWALL)
    reading = machine.run(["ufw", "status", "verbose"])
    if not reading.ok:
        return question.unknown(reading)
    lines = reading.text.splitlines()
    default = next((line for line in lines if line.startswith("Default:")), "")
    active = "Status: active" in lines
    denied = all(f"deny ({way})" in default for way in ("incoming", "outgoing"))
    open_way = "allow (routed)" in default
    found = "; ".join(line for line in lines if line.startswith(("Status:", "Default:")))
    return question.judged(active and denied and not open_way, found)


def _policies(machine: Machine, version: int) -> Check:
    """Look at the kernel itself: ufw's own word is not enough (moby issue 22054)."""
    question = Question(
        f"firewall-kernel-ipv{version}", "policy DROP for INPUT, FORWARD and OUTPUT", _FIREWALL
    )
    reading = machine.run([_IPTABLES[version], "-S"])
    if not reading.ok:
        return question.unknown(reading)
    found = policies(reading.text)
    wrong = [
        f"{c} {found.get(c)}" for c in ("INPUT", "FORWARD", "OUTPUT") if found.get(c) != "DROP"
    ]
    return question.differing(wrong, "DROP for all three")


def _published(machine: Machine, declared: Declaration, version: int) -> Check:
    question = Question(
        f"published-ports-ipv{version}",
        "DOCKER-USER lets in what is declared and refuses the rest",
        f"{_FIREWALL} The engine publishes past ufw; only this chain stops it.",
    )
    reading = machine.run([_IPTABLES[version], "-S"])
    if not reading.ok:
        return question.unknown(reading)
    rules = parse_rules(reading.text, own_chain(reading.text))
    wrong = differences(rules, declared.published, version, declared.site.container_pool)
    count = sum(o.version == version for o in declared.published)
    return question.differing(wrong, f"{count} openings, the rest refused")


def _number(low: int, high: int) -> Callable[[str], bool]:
    return lambda text: text.isdigit() and low <= int(text) <= high


def _is(*words: str) -> Callable[[str], bool]:
    return lambda text: text in words


SSHD: dict[str, tuple[str, Callable[[str], bool]]] = {
    "permitrootlogin": ("no", _is("no")),
    "passwordauthentication": ("no", _is("no")),
    "kbdinteractiveauthentication": ("no", _is("no")),
    "permitemptypasswords": ("no", _is("no")),
    "pubkeyauthentication": ("yes", _is("yes")),
    "hostbasedauthentication": ("no", _is("no")),
    "permituserenvironment": ("no", _is("no")),
    "x11forwarding": ("no", _is("no")),
    "gatewayports": ("no", _is("no")),
    "maxauthtries": (f"1 to {_TRIES}", _number(1, _TRIES)),
    "logingracetime": (f"1 to {_GRACE_S}", _number(1, _GRACE_S)),
    "clientaliveinterval": ("1 to 900", _number(1, 900)),
}


def _sshd(machine: Machine) -> Check:
    question = Question(
        "ssh",
        ", ".join(f"{name} {words}" for name, (words, _) in SSHD.items()),
        "Run: appliance host provision; look for a file in /etc/ssh/sshd_config.d that says other.",
    )
    reading = machine.run(["sshd", "-T"])
    if not reading.ok:
        return question.unknown(reading)
    rows = [line.split(None, 1) for line in reading.text.splitlines()]
    found = {row[0].lower(): row[1].strip().lower() for row in rows if len(row) > 1}
    wrong = [f"{n} {found.get(n)}" for n, (_, right) in SSHD.items() if not right(found.get(n, ""))]
    if not found.keys() & {"allowgroups", "allowusers"}:
        wrong.append("everybody with an account may log in")
    return question.differing(wrong, "as expected")


def _time(machine: Machine, declared: Declaration) -> Check:
    servers = declared.site.time_servers
    question = Question(
        "time",
        f"synchronised with {', '.join(servers)}" if servers else "a clock somebody looks after",
        "Name the hospital's time server in host.time_servers; set the clock by hand until then."
        if not servers
        else "Look at: chronyc sources. Is the server up and outbound 123/udp declared?",
    )
    reading = machine.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"])
    if not reading.ok:
        return question.unknown(reading)
    synchronised = reading.text.strip() == "yes"
    found = "synchronised" if synchronised else "not synchronised"
    return question.judged(synchronised, found, otherwise="fail" if servers else "warn")
