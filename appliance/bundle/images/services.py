"""``images/compose.yaml`` as containers, for machines without the compose plug-in.

Debian has none, and an appliance fetches none. Only what the file uses is understood; a key that
is not is refused, because a hardening option that is silently ignored is worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from docker import DockerClient
from docker.models.containers import Container
from docker.types import LogConfig

from appliance.bundle.images.proof import identify
from appliance.core.durable import os_errors
from appliance.core.errors import BundleRecipeError
from appliance.training.container import devices

VARIABLE = re.compile(r"\$\{(?P<name>[A-Z_]+)(?::-(?P<default>[^}]*))?\}")
SECOND = 1_000_000_000
CUDA = "-cuda"
ALL_CARDS = ("nvidia.com/gpu=all",)  # the list that nvidia-ctk writes at boot (CDI)
LABEL = "org.hospital-ai-appliance.service"
PLAIN = {
    "image": "image",
    "command": "command",
    "read_only": "read_only",
    "cap_drop": "cap_drop",
    "mem_limit": "mem_limit",
    "pids_limit": "pids_limit",
    "user": "user",
    "ipc": "ipc_mode",
    "working_dir": "working_dir",
    "environment": "environment",
}
HANDLED = {
    *(
        "entrypoint",
        "gpus",
        "healthcheck",
        "logging",
        "network_mode",
        "networks",
        "ports",
        "profiles",
    ),
    *("pull_policy", "restart", "security_opt", "tmpfs", "volumes"),
}


@dataclass(frozen=True)
class Plan:
    """What is to run."""

    project: str
    services: dict[str, dict[str, Any]]
    networks: dict[str, dict[str, Any]]
    volumes: dict[str, dict[str, Any]]
    folder: Path = field(default_factory=Path)
    apparmor: str | None = None


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Put values in place of ``${NAME}`` and ``${NAME:-default}``."""

    def value(match: re.Match[str]) -> str:
        found = variables.get(match["name"]) or match["default"]
        if found is None:
            raise BundleRecipeError(expected=f"a value for {match['name']}", found="none")
        return found

    return VARIABLE.sub(value, text)


def read_plan(path: Path, variables: Mapping[str, str], *, apparmor: str | None = None) -> Plan:
    """Read a compose file; ``apparmor`` names the profile on hosts whose kernel has AppArmor."""
    with os_errors(path):
        text = path.read_text(encoding="utf-8")
    value = yaml.safe_load(substitute(text, variables))
    for name, service in value["services"].items():
        unknown = sorted(service.keys() - PLAIN.keys() - HANDLED)
        if unknown:
            raise BundleRecipeError(
                expected=f"known keys in service {name}", found=", ".join(unknown)
            )
    return Plan(
        value["name"],
        value["services"],
        value.get("networks", {}),
        value.get("volumes", {}),
        path.parent,
        apparmor,
    )


def carried(plan: Plan, images: Path) -> Plan:
    """Return ``plan`` with the images that lie in ``images``, where the recipe brings others.

    A bundle for NVIDIA cards has NAME-cuda in place of NAME; its containers are given the cards.
    """
    return replace(plan, services={n: _carried(s, images) for n, s in plan.services.items()})


def _carried(service: dict[str, Any], images: Path) -> dict[str, Any]:
    image = service["image"].rpartition("/")[2].partition(":")[0]
    with_cards = images / f"{image}{CUDA}.oci.tar"
    if (images / f"{image}.oci.tar").is_file() or not with_cards.is_file():
        return service
    return {**service, "image": identify(with_cards)[0], "gpus": "all"}


def container_options(plan: Plan, name: str) -> dict[str, Any]:
    """Return the SDK's keyword arguments for service ``name`` (networks apart)."""
    service = plan.services[name]
    options = {target: service[key] for key, target in PLAIN.items() if key in service}
    options["security_opt"] = [_security(plan, o) for o in service.get("security_opt", [])]
    if plan.apparmor is not None:
        options["security_opt"].append(f"apparmor={plan.apparmor}")
    if "entrypoint" in service:
        # The engine keeps the image's arguments beside a new program; compose drops them.
        options["entrypoint"] = service["entrypoint"][:1]
        options.setdefault("command", service["entrypoint"][1:])
    restart = service.get("restart", "no")
    options["restart_policy"] = {"Name": "" if restart == "no" else restart}
    options["tmpfs"] = dict(_pair(entry) for entry in service.get("tmpfs", []))
    options["volumes"] = [_volume(plan, entry) for entry in service.get("volumes", [])]
    options["ports"] = dict(_port(entry) for entry in service.get("ports", []))
    if service.get("gpus") == "all":
        options["device_requests"] = devices(ALL_CARDS)
    if "healthcheck" in service:
        options["healthcheck"] = _health(service["healthcheck"])
    if "logging" in service:
        options["log_config"] = LogConfig(
            type=service["logging"]["driver"], config=service["logging"]["options"]
        )
    return options


def _security(plan: Plan, option: str) -> str:
    key, _, value = option.partition("=")
    if key == "seccomp" and value != "unconfined":
        path = plan.folder / value  # the engine wants the profile itself, not its path
        with os_errors(path):
            return f"seccomp={path.read_text(encoding='utf-8')}"
    return option


def _pair(entry: str) -> tuple[str, str]:
    path, _, options = entry.partition(":")
    return path, options


def _volume(plan: Plan, entry: str) -> str:
    source, _, rest = entry.partition(":")
    return entry if source.startswith("/") else f"{plan.project}_{source}:{rest}"


def _port(entry: str) -> tuple[str, tuple[str, int]]:
    address, outside, inside = entry.rsplit(":", 2)
    return f"{inside}/tcp", (address, int(outside))


def _health(check: Mapping[str, Any]) -> dict[str, Any]:
    def seconds(key: str) -> int:
        return int(float(str(check.get(key, "0s")).removesuffix("s")) * SECOND)

    return {
        "test": check["test"],
        "interval": seconds("interval"),
        "timeout": seconds("timeout"),
        "retries": int(check.get("retries", 3)),
        "start_period": seconds("start_period"),
    }


def create(client: DockerClient, plan: Plan, name: str) -> Container:
    """Create service ``name`` with its networks and volumes, not started."""
    service = plan.services[name]
    for volume, value in plan.volumes.items():
        client.volumes.create(
            f"{plan.project}_{volume}", driver_opts=(value or {}).get("driver_opts", {})
        )
    networks = [_network(client, plan, network) for network in service.get("networks", [])]
    alias = client.api.create_endpoint_config(aliases=[name])
    mode: dict[str, Any] = (
        {"network": networks[0], "networking_config": {networks[0]: alias}}
        if networks
        else {"network_mode": service.get("network_mode", "none")}
    )
    container = client.containers.create(
        name=f"{plan.project}-{name}",
        detach=True,
        labels={LABEL: name},
        **mode,
        **container_options(plan, name),
    )
    for network in networks[1:]:
        client.networks.get(network).connect(container, aliases=[name])
    return container


def _network(client: DockerClient, plan: Plan, network: str) -> str:
    name = f"{plan.project}_{network}"
    value = plan.networks[network] or {}
    if not client.networks.list(names=[f"^{name}$"]):
        client.networks.create(
            name,
            driver="bridge",
            internal=value.get("internal", False),
            options=value.get("driver_opts", {}),
        )
    return name


def up(client: DockerClient, plan: Plan, *, profiles: frozenset[str] = frozenset()) -> list[str]:
    """Create and start every service whose profile is asked for; return their names."""
    started: list[str] = []
    for name, service in plan.services.items():
        wanted = service.get("profiles", [])
        if wanted and not profiles.intersection(wanted):
            continue
        create(client, plan, name).start()
        started.append(name)
    return started


def down(client: DockerClient, plan: Plan) -> None:
    """Stop and remove the services and networks; volumes stay."""
    for name in plan.services:
        remove(client, plan, name)
    for network in plan.networks:
        for found in client.networks.list(names=[f"^{plan.project}_{network}$"]):
            found.remove()


def remove(client: DockerClient, plan: Plan, name: str) -> None:
    """Stop and remove the container of service ``name``, if there is one."""
    for container in client.containers.list(all=True, filters={"name": f"^{plan.project}-{name}$"}):
        container.stop()
        container.remove()


def remove_others(client: DockerClient, plan: Plan) -> None:
    """Remove containers of services that an earlier version had and ``plan`` has not."""
    for container in client.containers.list(all=True, filters={"label": LABEL}):
        service = container.labels[LABEL]
        if container.name == f"{plan.project}-{service}" and service not in plan.services:
            container.stop()
            container.remove()
