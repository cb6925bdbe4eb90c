"""What the virtual machine is to be, and the Proxmox VE parameters that say so. Pure."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from appliance.core.canonical import value_hash
from appliance.core.durable import os_errors
from appliance.core.errors.host import VmSpecInvalidError

TAG = "hospital-appliance"
MARK = "appliance-spec:"  # before the spec's hash in the VM's description
MAX_SPEC_BYTES = 100_000  # a description is a page of text
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,61}[A-Za-z0-9]$")]
_Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
_Volume = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*:[A-Za-z0-9_./-]+$")]


class Seed(BaseModel):
    """How the guest is set up at first boot: volumes that already lie on the server.

    ``autoinstall`` is an ISO with the installer, ``data`` one with the unattended answers;
    ``cloud-init`` takes ``user`` (a snippet volume) and boots an imported image instead.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["autoinstall", "cloud-init"]
    installer: _Volume | None = None
    data: _Volume | None = None
    user: _Volume | None = None
    image: _Volume | None = None


class VmSpec(BaseModel):
    """The description of the appliance's virtual machine (a YAML file; unknown keys are fatal)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    node: _Name = Field(description="The Proxmox VE node it runs on.")
    name: _Name = Field(description="Its name, unique in the cluster.")
    vmid: int | None = Field(
        default=None, ge=100, le=999_999_999, description="Its number; unset: the next free one."
    )
    cores: int = Field(default=16, ge=1, le=256, description="Cores (count).")
    memory_gib: int = Field(default=96, ge=2, le=4096, description="Memory (GiB), never ballooned.")
    storage: _Id = Field(description="Storage of its disks, firmware variables and TPM state.")
    system_gib: int = Field(default=200, ge=8, le=65_536, description="System disk (GiB).")
    data_gib: int = Field(default=2000, ge=8, le=65_536, description="Data disk (GiB).")
    gpus: tuple[_Id, ...] = Field(
        default=(),
        max_length=16,
        description="Resource mappings of the cards: an API token may not name raw PCI addresses.",
    )
    bridge: _Id | None = Field(
        default=None, description="One isolated bridge (no ports); unset: no network at all."
    )
    seed: Seed | None = None
    start_at_boot: bool = True

    @property
    def hash(self) -> str:
        """The content hash that marks the machine as made from this description."""
        return value_hash(self.model_dump(mode="json", exclude={"vmid"}))


def load_spec(path: Path) -> VmSpec:
    """Read a description; raises ``VmSpecInvalidError`` naming the field."""
    with os_errors(path):
        data = path.read_bytes()
    if len(data) > MAX_SPEC_BYTES:
        raise VmSpecInvalidError(expected="a page of YAML", found=f"{len(data)} bytes")
    try:
        return VmSpec.model_validate(yaml.safe_load(data))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise VmSpecInvalidError(expected=f"YAML in {path}", found=type(error).__name__) from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        raise VmSpecInvalidError(
            expected=f"the fields of a machine in {path}", found=f"{key}: {first['msg']}"
        ) from error


def settings_of(spec: VmSpec) -> dict[str, Any]:
    """Return the machine's settings apart from its disks, as Proxmox VE reads and shows them.

    OVMF and q35 are what PCIe pass-through needs; memory is not ballooned since a passed-through
    card pins it; ``agent`` is off while there is no network to serve.
    """
    found: dict[str, Any] = {
        "name": spec.name,
        "bios": "ovmf",
        "machine": "q35",
        "ostype": "l26",
        "cpu": "host",
        "sockets": 1,
        "cores": spec.cores,
        "memory": str(spec.memory_gib * 1024),
        "balloon": 0,
        "scsihw": "virtio-scsi-single",
        "onboot": int(spec.start_at_boot),
        "tags": TAG,
        "vga": "std",
        "description": f"{MARK}{spec.hash}",
    }
    for number, mapping in enumerate(spec.gpus):
        found[f"hostpci{number}"] = f"mapping={mapping},pcie=1"
    if spec.bridge is not None:
        found["net0"] = f"virtio,bridge={spec.bridge},firewall=1"
    return found


def disks_of(spec: VmSpec) -> dict[str, str]:
    """Return the disks to allocate: system, data, firmware variables, TPM 2 state, seeds.

    Keys are enrolled in the firmware variables so that Secure Boot can be on.
    """
    fast = "discard=on,iothread=1,ssd=1"
    found = {
        "efidisk0": f"{spec.storage}:1,efitype=4m,pre-enrolled-keys=1",
        "tpmstate0": f"{spec.storage}:1,version=v2.0",
        "scsi0": f"{spec.storage}:{spec.system_gib},{fast}",
        "scsi1": f"{spec.storage}:{spec.data_gib},{fast}",
    }
    boot = ["scsi0"]
    seed = spec.seed
    if seed is not None and seed.kind == "autoinstall":
        if seed.installer:
            found["ide2"] = f"{seed.installer},media=cdrom"
            boot.append("ide2")
        if seed.data:
            found["ide3"] = f"{seed.data},media=cdrom"
    elif seed is not None:
        found["ide2"] = f"{spec.storage}:cloudinit,media=cdrom"
        if seed.user:
            found["cicustom"] = f"user={seed.user}"
        if seed.image:
            found["scsi0"] = f"{spec.storage}:0,import-from={seed.image},{fast}"
    found["boot"] = f"order={';'.join(boot)}"
    return found


def options(text: str) -> dict[str, str]:
    """Split a Proxmox VE option string (``a,b=c``); the part without a name is ``""``."""
    found = {}
    for part in str(text).split(","):
        name, equals, value = part.partition("=")
        found[name if equals else ""] = value if equals else part
    return found
