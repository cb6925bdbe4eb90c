from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from appliance.host.checks import Check, as_answer, as_lines
from appliance.host.machine import FixedMachine, Reading, Status
from appliance.host.verify import verify

_SPEC = importlib.util.spec_from_file_location(
    "host_machine", Path(__file__).with_name("host_machine.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
twin: Any = importlib.util.module_from_spec(_SPEC)
sys.modules["host_machine"] = twin
_SPEC.loader.exec_module(twin)

TODAY = date(2026, 6, 1)
ENTRY = {
    "rule": "usb-storage",
    "reason": "the bundle comes on a stick",
    "control": "the stick is verified as a stream",
    "owner": "hospital IT",
    "expires": "2027-01-01",
}


def register(tmp_path: Path, **changes: object) -> Path:
    path = tmp_path / "exceptions.yaml"
    path.write_text(json.dumps({"exceptions": [ENTRY | changes]}), encoding="utf-8")
    return path


def look(machine: FixedMachine, tmp_path: Path, **changes: object) -> dict[str, Check]:
    checks = verify(machine, twin.DECLARED, register(tmp_path, **changes), TODAY)
    return {check.name: check for check in checks}


def bad(checks: dict[str, Check]) -> list[str]:
    return [name for name, check in checks.items() if check.status != "pass"]


def test_a_machine_as_declared_passes_everywhere(tmp_path: Path) -> None:
    assert bad(look(twin.good(), tmp_path)) == []


def file(path: str, text: str) -> Callable[[FixedMachine], None]:
    return lambda machine: machine.files.update({path: text})


def says(command: str, text: str) -> Callable[[FixedMachine], None]:
    return lambda machine: machine.programs.update({command: text})


def luks(change: Callable[[dict[str, Any]], object]) -> Callable[[FixedMachine], None]:
    value = deepcopy(twin.LUKS)
    change(value)
    return says(twin.DUMP, json.dumps(value))


def swapped(text: str, old: str, new: str) -> str:
    assert old in text
    return text.replace(old, new)


def info(**changes: object) -> Callable[[FixedMachine], None]:
    return says(twin.INFO_COMMAND, json.dumps(twin.INFO | changes))


ROW = "-A appliance-docker -s 10.2.0.0/16"
SPOILT: list[tuple[str, str, Callable[[FixedMachine], None]]] = [
    (
        "another disk is mounted there",
        "data-volume",
        says(
            "findmnt --json --mountpoint /srv/appliance",
            '{"filesystems": [{"source": "/dev/sda1", "options": "nosuid,nodev"}]}',
        ),
    ),
    (
        "mounted so that devices in it work",
        "data-volume",
        says(
            "findmnt --json --mountpoint /srv/appliance",
            '{"filesystems": [{"source": "/dev/mapper/appliance-data", "options": "rw"}]}',
        ),
    ),
    (
        "not mounted",
        "data-volume",
        lambda m: m.programs.update(
            {"findmnt --json --mountpoint /srv/appliance": Reading(Status.FAILED, reason="1")}
        ),
    ),
    ("no recovery key", "luks-recovery-key", luks(lambda v: v["tokens"].pop("0"))),
    ("the TPM was cleared away", "luks-tpm", luks(lambda v: v["tokens"].pop("1"))),
    ("a token without its slot", "luks-tpm", luks(lambda v: v["keyslots"].pop("2"))),
    ("only the TPM opens it", "luks-passphrase", luks(lambda v: v["keyslots"].pop("0"))),
    (
        "a weak cipher",
        "luks-cipher",
        luks(lambda v: v["segments"]["0"].update(encryption="aes-cbc-plain")),
    ),
    ("half a key", "luks-cipher", luks(lambda v: v["keyslots"]["0"].update(key_size=32))),
    (
        "a disk name that moves",
        "crypttab",
        file("/etc/crypttab", "appliance-data /dev/sdb none luks"),
    ),
    ("swap in the clear", "swap", file("/proc/swaps", "Filename\n/dev/vda5 partition 1 0 -2\n")),
    ("ufw is off", "firewall", says("ufw status verbose", "Status: inactive\n")),
    (
        "everything may leave",
        "firewall",
        says(
            "ufw status verbose",
            "Status: active\nDefault: deny (incoming), allow (outgoing), deny (routed)\n",
        ),
    ),
    (
        "ufw says yes, the kernel no",
        "firewall-kernel-ipv4",
        says("iptables -S", swapped(twin.DOCKER_USER, "-P INPUT DROP", "-P INPUT ACCEPT")),
    ),
    (
        "IPv6 was forgotten",
        "firewall-kernel-ipv6",
        says("ip6tables -S", swapped(twin.DOCKER_USER6, "-P FORWARD DROP", "-P FORWARD ACCEPT")),
    ),
    (
        "a port more for containers",
        "published-ports-ipv4",
        says(
            "iptables -S",
            swapped(
                twin.DOCKER_USER,
                "-A appliance-docker -m limit",
                "-A appliance-docker -s 10.0.0.0/8 -p tcp --dport 5432 -j RETURN\n"
                "-A appliance-docker -m limit",
            ),
        ),
    ),
    (
        "all private networks (ufw-docker issue 67)",
        "published-ports-ipv4",
        says("iptables -S", swapped(twin.DOCKER_USER, ROW, "-A appliance-docker -s 10.0.0.0/8")),
    ),
    (
        "the last rule is gone",
        "published-ports-ipv4",
        says("iptables -S", swapped(twin.DOCKER_USER, "-A appliance-docker -j DROP\n", "")),
    ),
    (
        "only one card is refused",
        "published-ports-ipv4",
        says(
            "iptables -S",
            swapped(
                twin.DOCKER_USER,
                "-A appliance-docker -j DROP",
                "-A appliance-docker -i eth0 -j DROP",
            ),
        ),
    ),
    (
        "the engine put its own rule first",
        "published-ports-ipv4",
        says(
            "iptables -S",
            swapped(
                twin.DOCKER_USER,
                "-A DOCKER-USER -j appliance-docker",
                "-A DOCKER-USER -j RETURN\n-A DOCKER-USER -j appliance-docker",
            ),
        ),
    ),
    (
        "root may log in",
        "ssh",
        says("sshd -T", swapped(twin.SSHD, "permitrootlogin no", "permitrootlogin yes")),
    ),
    (
        "everybody may log in",
        "ssh",
        says("sshd -T", swapped(twin.SSHD, "allowgroups appliance-ssh\n", "")),
    ),
    (
        "endless tries",
        "ssh",
        says("sshd -T", swapped(twin.SSHD, "maxauthtries 3", "maxauthtries 60")),
    ),
    ("AppArmor is off", "apparmor", file("/sys/module/apparmor/parameters/enabled", "N\n")),
    (
        "a profile that only complains",
        "apparmor-profiles",
        file(
            "/sys/kernel/security/apparmor/profiles",
            "docker-default (enforce)\nappliance-service (complain)\n",
        ),
    ),
    ("no profile", "apparmor-profiles", file("/sys/kernel/security/apparmor/profiles", "")),
    (
        "the containers' own profile was never loaded",
        "apparmor-profiles",
        file("/sys/kernel/security/apparmor/profiles", "docker-default (enforce)\n"),
    ),
    ("addresses are not random", "sysctl", file("/proc/sys/kernel/randomize_va_space", "0")),
    ("auditd is dead", "auditd", says("auditctl -s", "enabled 1\npid 0\nlost 0\n")),
    ("no audit rules", "audit-rules", says("auditctl -l", "No rules\n")),
    ("no seccomp", "engine", info(SecurityOptions=["name=apparmor"])),
    ("no AppArmor for containers", "engine", info(SecurityOptions=["name=seccomp"])),
    ("logs without a bound", "engine", info(LoggingDriver="syslog")),
    (
        "a registry over plain HTTP",
        "engine",
        info(RegistryConfig={"InsecureRegistryCIDRs": ["10.0.0.0/8"]}),
    ),
    ("containers die with the engine", "engine", info(LiveRestoreEnabled=False)),
    (
        "the engine on TCP",
        "engine-socket",
        says(
            "ss --no-header --listening --tcp --numeric --processes",
            'LISTEN 0 1 0.0.0.0:2375 0.0.0.0:* users:(("dockerd",pid=1,fd=3))',
        ),
    ),
    (
        "the engine on TCP beside a published port",
        "engine-socket",
        says(
            "ss --no-header --listening --tcp --numeric --processes",
            'LISTEN 0 1 127.0.0.1:8443 0.0.0.0:* users:(("dockerd",pid=1,fd=3))\n'
            'LISTEN 0 1 0.0.0.0:8443 0.0.0.0:* users:(("dockerd",pid=1,fd=4))',
        ),
    ),
    (
        "containers talk on the default bridge",
        "engine-bridge",
        says("docker network inspect bridge", '[{"Options": {}}]'),
    ),
    ("a service is absent", "containers", says(twin.PS, twin.lines(twin.CONTAINERS[:1]))),
    (
        "a service is unhealthy",
        "containers",
        says(
            twin.PS,
            twin.lines([twin.CONTAINERS[0], twin.CONTAINERS[1] | {"Status": "Up (unhealthy)"}]),
        ),
    ),
    (
        "a card with the closed module",
        "nvidia-module",
        lambda m: m.files.update(
            {
                "/sys/bus/pci/devices/0000:01:00.0/vendor": "0x10de\n",
                "/sys/bus/pci/devices/0000:01:00.0/class": "0x030000\n",
                "/proc/driver/nvidia/version": "NVIDIA UNIX x86_64 Kernel Module 580.65.06",
            }
        ),
    ),
]


@pytest.mark.parametrize(("name", "spoil"), [s[1:] for s in SPOILT], ids=[s[0] for s in SPOILT])
def test_each_thing_that_is_wrong_is_seen(
    name: str, spoil: Callable[[FixedMachine], None], tmp_path: Path
) -> None:
    machine = twin.good()
    spoil(machine)
    checks = look(machine, tmp_path)
    assert checks[name].status == "fail", checks[name]
    assert checks[name].remedy
    others = {n for n in bad(checks) if not n.startswith("nvidia")} - {name}
    assert others <= {"luks-cipher"} | ({"luks-passphrase"} if name.startswith("luks") else set())


@pytest.mark.parametrize("command", sorted(twin.good().programs))
def test_what_cannot_be_asked_is_unknown_and_never_passes(command: str, tmp_path: Path) -> None:
    machine = twin.good()
    machine.programs[command] = Reading(Status.DENIED, reason="needs root")
    if command == "findmnt --json --mountpoint /":
        machine.programs["findmnt --json --mountpoint /srv/appliance"] = machine.programs[command]
    checks = look(machine, tmp_path)
    answer = as_answer(list(checks.values()))
    assert not answer["ok"]
    assert {checks[name].status for name in bad(checks)} <= {"unknown", "fail"}


def test_a_blank_machine_passes_in_nothing_that_matters(tmp_path: Path) -> None:
    checks = verify(FixedMachine(), twin.DECLARED, tmp_path / "none.yaml", TODAY)
    assert [c.name for c in checks if c.status == "pass"] == ["nvidia"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"expires": "2026-05-31"}, "fail"),
        ({"expires": "2026-06-01"}, "warn"),
        ({"expires": "2026-06-20"}, "warn"),
        ({"expires": "soon"}, "fail"),
        ({"owner": ""}, "fail"),
        ({"control": None}, "fail"),
    ],
)
def test_an_exception_ends(changes: dict[str, object], status: str, tmp_path: Path) -> None:
    assert look(twin.good(), tmp_path, **changes)["exceptions"].status == status


def test_a_clock_nobody_looks_after_is_a_warning_without_a_time_server(tmp_path: Path) -> None:
    machine = twin.good()
    machine.programs["timedatectl show --property=NTPSynchronized --value"] = "no\n"
    checks = look(machine, tmp_path)
    assert checks["time"].status == "warn"
    assert as_answer(list(checks.values()))["ok"]


def test_a_line_for_people_says_what_to_do(tmp_path: Path) -> None:
    machine = twin.good()
    machine.programs["ufw status verbose"] = "Status: inactive\n"
    text = "\n".join(as_lines(list(look(machine, tmp_path).values())))
    assert "FAIL    firewall" in text
    assert "to do:    Run: appliance host provision." in text
