"""The container engine as it runs, and the containers on it."""

from __future__ import annotations

import json
from typing import Any

from appliance.host.checks import Check, Question
from appliance.host.machine import Machine, Reading

SERVICE_LABEL = "org.hospital-ai-appliance.service"
COMPOSE_LABEL = "com.docker.compose.service"
_LOGS = frozenset({"json-file", "local", "journald"})
PS = ["docker", "ps", "--all", "--no-trunc", "--format", "{{json .}}"]
_AGAIN = "Run: appliance host provision."


def engine_checks(machine: Machine, services: tuple[str, ...]) -> list[Check]:
    """Return the checks of the engine and of the containers named ``services``."""
    return [_daemon(machine), _bridge(machine), _sockets(machine), _containers(machine, services)]


def _daemon(machine: Machine) -> Check:
    question = Question(
        "engine",
        "seccomp, AppArmor, cgroup v2, live restore, bounded logs, no insecure registry in effect",
        f"{_AGAIN} Look at /etc/docker/daemon.json and: journalctl -u docker.",
    )
    reading = machine.run(["docker", "info", "--format", "{{json .}}"])
    info = reading.json()
    if not isinstance(info, dict):
        return question.unknown(reading)
    if info.get("ServerErrors"):
        return question.judged(ok=False, found="the engine does not answer")
    return question.differing(_engine_wrong(info), f"{info.get('ServerVersion')}, as expected")


def _engine_wrong(info: dict[str, Any]) -> list[str]:
    options = " ".join(info.get("SecurityOptions") or [])
    registries = (info.get("RegistryConfig") or {}).get("InsecureRegistryCIDRs") or []
    foreign = [str(r) for r in registries if str(r) not in {"127.0.0.0/8", "::1/128"}]
    wrong = [f"no {word}" for word in ("name=seccomp", "name=apparmor") if word not in options]
    if str(info.get("CgroupVersion")) != "2":
        wrong.append(f"cgroup version {info.get('CgroupVersion')}")
    if info.get("LiveRestoreEnabled") is not True:
        wrong.append("no live restore")
    if info.get("LoggingDriver") not in _LOGS:
        wrong.append(f"log driver {info.get('LoggingDriver')}")
    if (info.get("Swarm") or {}).get("LocalNodeState", "inactive") != "inactive":
        wrong.append("a swarm")
    return wrong + [f"insecure registry {r}" for r in foreign]


def _bridge(machine: Machine) -> Check:
    question = Question("engine-bridge", "containers on the default bridge do not talk", _AGAIN)
    reading = machine.run(["docker", "network", "inspect", "bridge"])
    value = reading.json()
    if not isinstance(value, list) or not value:
        return question.unknown(reading)
    talk = (value[0].get("Options") or {}).get("com.docker.network.bridge.enable_icc")
    return question.judged(talk == "false", f"enable_icc {talk}")


def _sockets(machine: Machine) -> Check:
    question = Question(
        "engine-socket",
        "the engine listens on its Unix socket only",
        "Remove hosts and -H tcp:// from daemon.json and the unit: who reaches it is root.",
    )
    reading = machine.run(["ss", "--no-header", "--listening", "--tcp", "--numeric", "--processes"])
    if not reading.ok:
        return question.unknown(reading)
    # The engine holds each published port itself; the firewall's checks and the scan judge those.
    rows = _rows(machine.run(PS)) or []
    shown = ",".join(str(row.get("Ports", "")) for row in rows).split(",")
    published = {port.partition("->")[0].strip() for port in shown if "->" in port}
    lines = [line.split()[3] for line in reading.text.splitlines() if '"dockerd"' in line]
    found = [address for address in lines if address not in published]
    return question.judged(not found, ", ".join(found) or "no TCP port")


def _containers(machine: Machine, services: tuple[str, ...]) -> Check:
    question = Question(
        "containers",
        f"running and healthy: {', '.join(services) or 'none declared'}",
        "Look at: docker logs NAME. Start them: systemctl restart appliance-services (trainer: "
        "appliance-trainer).",
    )
    reading = machine.run(PS)
    rows = _rows(reading)
    if rows is None:
        return question.unknown(reading)
    state = {}
    for row in rows:
        labels = dict(p.partition("=")[::2] for p in str(row.get("Labels", "")).split(","))
        name = labels.get(SERVICE_LABEL) or labels.get(COMPOSE_LABEL)
        if name:
            state[name] = (str(row.get("State")), str(row.get("Status")))
    wrong = []
    for name in services:
        running, status = state.get(name, ("absent", ""))
        if running != "running" or "unhealthy" in status or "starting" in status:
            wrong.append(f"{name} {status or running}")
    return question.differing(wrong, f"{len(services)} of {len(services)}")


def _rows(reading: Reading) -> list[dict[str, Any]] | None:
    if not reading.ok:
        return None
    try:
        return [json.loads(line) for line in reading.text.splitlines() if line.strip()]
    except ValueError:
        return None
