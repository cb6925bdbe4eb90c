"""What this machine is declared to be: the settings, and ``security/firewall.yaml``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.errors.host import DeclarationInvalidError
from appliance.core.settings.host import HostSettings
from appliance.host.firewall_rules import Opening

# The services of images/compose.yaml that always run, and the one that runs where its image is.
TRAINER = "trainer"
SERVICES = ("inference", "gateway", "console", "prometheus", "node-exporter")


class Inbound(BaseModel):
    """One port that may be reached from outside."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: str
    port: int = Field(ge=1, le=65_535)
    protocol: Literal["tcp", "udp"] = "tcp"
    network: Literal["admin", "clients", "reviewers"]
    by: Literal["host", "container"]
    reason: str


class Policy(BaseModel):
    """``security/firewall.yaml``: what may come in; what may go out is the site's to say."""

    model_config = ConfigDict(extra="allow", frozen=True)

    version: Literal[1] = Field(alias="schema")
    inbound: tuple[Inbound, ...]


@dataclass(frozen=True)
class Declaration:
    """What the machine is compared with."""

    site: HostSettings
    host_ports: tuple[Opening, ...] = ()
    published: tuple[Opening, ...] = ()
    services: tuple[str, ...] = SERVICES

    def open_to(self, source: str) -> frozenset[tuple[int, str]]:
        """Return the ports a machine with the address ``source`` may reach."""
        address = ipaddress.ip_address(source)
        return frozenset(
            (o.port, o.protocol)
            for o in (*self.host_ports, *self.published)
            if address in ipaddress.ip_network(o.source)
        )


def declaration(site: HostSettings, policy_file: Path) -> Declaration:
    """Join the settings with the policy; raise :class:`DeclarationInvalidError`."""
    try:
        value = yaml.safe_load(policy_file.read_text(encoding="utf-8"))
        policy = Policy.model_validate(value)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DeclarationInvalidError(
            expected=f"the declared exposure in {policy_file}", found=type(error).__name__
        ) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise DeclarationInvalidError(
            expected=f"a declared exposure in {policy_file}", found=f"{key}: {first['msg']}"
        ) from error
    images = policy_file.parents[1] / "images"
    brought = any((images / f"{TRAINER}{kind}.oci.tar").is_file() for kind in ("", "-cuda"))
    services = (*SERVICES, TRAINER) if brought else SERVICES
    host, published = _openings(site, policy, "host"), _openings(site, policy, "container")
    return Declaration(site, host, published, services)


def _openings(site: HostSettings, policy: Policy, by: str) -> tuple[Opening, ...]:
    return tuple(
        Opening(network, rule.port, rule.protocol)
        for rule in policy.inbound
        if rule.by == by
        for network in getattr(site.networks, rule.network)
    )
