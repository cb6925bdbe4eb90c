"""Settings of the ``[host]`` table."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from appliance.core.settings.section import Section

_CONTROL = frozenset(chr(n) for n in range(32))


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def _plain(text: str) -> str:
    if _CONTROL & set(text):
        raise ValueError("expected one line without control characters")
    return text


Network = Annotated[str, AfterValidator(_network)]
Line = Annotated[str, AfterValidator(_plain)]


class Outbound(Section):
    """One server on the hospital's network that this machine may call."""

    to: Network = Field(description="Address or network of the server.")
    port: int = Field(ge=1, le=65_535, description="Its port.")
    protocol: Literal["tcp", "udp"] = Field("tcp", description="The transport.")
    reason: Line = Field(min_length=3, description="Why it must be called; stands in the report.")


class Networks(Section):
    """Who may reach what; the names are those of ``security/firewall.yaml``."""

    admin: tuple[Network, ...] = Field((), description="Administrators: SSH.")
    clients: tuple[Network, ...] = Field((), description="Clinicians' applications: the gateway.")
    reviewers: tuple[Network, ...] = Field((), description="Reviewers: the console.")


class HostSettings(Section):
    """The ``[host]`` table of ``appliance.toml``: what the site decides about the machine."""

    home: Path = Field(
        Path("/srv/appliance"),
        description="Mount point of the encrypted data volume: all state of the services.",
    )
    data_disk: Line = Field(
        "",
        description="The empty disk that `host provision` encrypts, as /dev/disk/by-id/...: names "
        "like /dev/sdb change between boots.",
    )
    data_label: str = Field(
        "appliance-data",
        pattern=r"^[a-z][a-z0-9-]{0,30}$",
        description="LUKS label and name under /dev/mapper of the data volume.",
    )
    passphrase_file: Path = Field(
        Path("/run/appliance-setup/passphrase"),
        description="File whose first line is the passphrase of the data volume; in memory only.",
    )
    recovery_file: Line = Field(
        "", description="Where the recovery key is written once: a medium that goes into the safe."
    )
    tpm: bool = Field(
        default=True, description="Whether the TPM 2 unlocks the data volume at boot."
    )
    admin: str = Field(
        "appliance-admin",
        pattern=r"^[a-z][a-z0-9_-]{0,31}$",
        description="Account of the person who administers the machine.",
    )
    admin_keys: tuple[Line, ...] = Field((), description="Public SSH keys of that person.")
    address: Line = Field(
        "", description="Address with prefix length on the hospital's network; empty: no network."
    )
    interface: Line = Field("", description="The network card of that address.")
    gateway: Line = Field(
        "", description="Router to the declared networks; empty when they lie on the same wire."
    )
    networks: Networks = Field(Networks(), description="Who may reach what. Nobody by default.")
    outbound: tuple[Outbound, ...] = Field(
        (), description="Servers this machine may call. None by default: it needs no internet."
    )
    time_servers: tuple[Line, ...] = Field((), description="Time servers of the hospital.")
    timezone: Line = Field("America/Sao_Paulo", description="Time zone of the machine.")
    backup_recipients: tuple[Line, ...] = Field(
        (), description="Recipients of the nightly encrypted backup."
    )
    backup_folder: Line = Field(
        "", description="Folder the backups go to; empty: no timer is armed."
    )
    container_pool: Network = Field(
        "172.30.0.0/16", description="Addresses of all container networks; never a LAN's."
    )
    foreign_firewall: Literal["refuse", "keep"] = Field(
        "refuse",
        description="What becomes of firewall rules of others: provisioning refuses and names "
        "them, or keeps them beside its own. They are never dropped silently.",
    )
    command_seconds: float = Field(
        30.0,
        gt=0,
        le=120,
        description="Seconds a program may take when the machine is verified: under emulation "
        "on a loaded machine `sshd -T` and `docker info` were seen to take more than 10 s.",
    )
    scan_timeout_s: float = Field(
        0.5,
        gt=0,
        le=30,
        description="Seconds to wait for an answer from one port; on a LAN an open port answers "
        "within milliseconds, silence means the packet was dropped.",
    )
    scan_parallel: int = Field(
        512,
        ge=1,
        le=8192,
        description="Ports asked at the same time: below the usual limit of 1,024 open files.",
    )
    sink_max_names: int = Field(
        10_000,
        ge=1,
        description="Different names the DNS sink keeps of one day; more are only counted, so "
        "that a program in a loop cannot fill the disk.",
    )
    provision_timeout_s: float = Field(
        7200.0,
        gt=0,
        description="Seconds a whole run of the playbooks may take; on real hardware it is "
        "minutes, under emulation without KVM up to an hour.",
    )
    output_lines: int = Field(
        400,
        ge=10,
        description="Lines of Ansible's own output kept for a failed run: enough for one task.",
    )
    doctor_min_free_bytes: int = Field(
        5_368_709_120,
        ge=0,
        description="Bytes that must be free under APPLIANCE_HOME: one adapter, its GGUF and a "
        "day of log fit in 5 GiB.",
    )
    doctor_backup_days: float = Field(
        8.0,
        gt=0,
        description="Days after which the last backup is too old: one weekly run and a day.",
    )
    doctor_certificate_days: int = Field(
        30,
        ge=0,
        description="Days the certificate of gateway and console must still last: a hospital's "
        "authority may take weeks to sign a new one.",
    )
    bundle_log_lines: int = Field(
        200,
        ge=0,
        description="Entries of the audit log whose action and outcome go into a support bundle.",
    )
    bundle_file_max_bytes: int = Field(
        1_048_576,
        ge=1024,
        description="Bytes of one file in a support bundle; records of stages are below 100 KB.",
    )
