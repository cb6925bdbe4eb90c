"""What would be done to reach the described machine, and what stands in the way. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from appliance.host.vm.spec import MARK, TAG, VmSpec, disks_of, options, settings_of

GIB = 1 << 30
Kind = Literal["create", "change", "keep"]


@dataclass(frozen=True)
class Site:
    """What was read from the server, as far as the plan needs it."""

    nodes: tuple[str, ...]
    node_memory_bytes: int
    mappings: Mapping[str, tuple[str, ...]]  # mapping id -> nodes that have it
    storage_free_bytes: int | None  # None: no such storage on the node
    bridge_ports: Mapping[str, str]  # bridge -> its ports ("" when isolated)
    machines: tuple[Mapping[str, Any], ...]  # /cluster/resources of type vm
    config: Mapping[str, Any] | None = None  # of the machine of this name, if any


@dataclass
class Plan:
    """The answer: what would happen, and the problems that forbid it."""

    kind: Kind
    vmid: int | None = None
    set: dict[str, Any] = field(default_factory=dict)
    unset: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "action": self.kind,
            "vmid": self.vmid,
            "set": self.set,
            "unset": self.unset,
            "reasons": self.reasons,
            "problems": self.problems,
        }


def is_ours(config: Mapping[str, Any]) -> bool:
    """Say whether a machine was made by this command: its tag and its mark say so."""
    tags = str(config.get("tags", "")).replace(",", ";").split(";")
    return TAG in tags and str(config.get("description", "")).startswith(MARK)


def find(machines: tuple[Mapping[str, Any], ...], name: str) -> list[Mapping[str, Any]]:
    """Return the machines of this name."""
    return [m for m in machines if m.get("name") == name]


def plan(spec: VmSpec, site: Site) -> Plan:
    """Compare the description with what is there."""
    same = find(site.machines, spec.name)
    found = Plan("create", vmid=spec.vmid)
    found.problems += _site_problems(spec, site)
    if len(same) > 1:
        found.problems.append(f"the name {spec.name} is used by {len(same)} machines")
        return found
    if same:
        return _existing(spec, site, same[0], found)
    if any(m.get("vmid") == spec.vmid for m in site.machines):
        found.problems.append(f"number {spec.vmid} is another machine's")
    need = (spec.system_gib + spec.data_gib) * GIB
    if site.storage_free_bytes is not None and site.storage_free_bytes < need:
        found.problems.append(
            f"storage {spec.storage} has {site.storage_free_bytes // GIB} GiB free, "
            f"the disks need {need // GIB} GiB"
        )
    found.set = {**settings_of(spec), **disks_of(spec)}
    found.reasons.append(f"no machine is named {spec.name}")
    return found


def _site_problems(spec: VmSpec, site: Site) -> list[str]:
    problems = []
    if spec.node not in site.nodes:
        problems.append(f"there is no node {spec.node}; there is {', '.join(site.nodes)}")
    if len(set(spec.gpus)) != len(spec.gpus):
        problems.append("the same card mapping is named twice")
    problems += [
        f"node {spec.node} has no PCI resource mapping {mapping}, or the token may not use it"
        for mapping in spec.gpus
        if spec.node not in site.mappings.get(mapping, ())
    ]
    if site.storage_free_bytes is None:
        problems.append(f"node {spec.node} has no storage {spec.storage}")
    if spec.memory_gib * GIB > site.node_memory_bytes:
        problems.append(
            f"the node has {site.node_memory_bytes // GIB} GiB of memory, not {spec.memory_gib}"
        )
    if spec.bridge is not None:
        ports = site.bridge_ports.get(spec.bridge)
        if ports is None:
            problems.append(f"node {spec.node} has no bridge {spec.bridge}")
        elif ports:
            problems.append(f"bridge {spec.bridge} is not isolated: it has the ports {ports}")
    return problems


def _existing(spec: VmSpec, site: Site, machine: Mapping[str, Any], found: Plan) -> Plan:
    config = site.config or {}
    vmid = int(machine["vmid"])
    if not is_ours(config):
        found.problems.append(f"machine {vmid} has this name but was not made by this command")
        return found
    if spec.vmid not in {None, vmid}:
        found.problems.append(f"machine {spec.name} is number {vmid}, not {spec.vmid}")
    if machine.get("node") != spec.node:
        found.problems.append(f"machine {vmid} is on node {machine.get('node')}")
    wanted = settings_of(spec)
    changed = {k: v for k, v in wanted.items() if not _same(k, v, config.get(k))}
    gone = [k for k in config if k.startswith(("hostpci", "net")) and k not in wanted]
    for disk, size in (("scsi0", spec.system_gib), ("scsi1", spec.data_gib)):
        now = _size_gib(config.get(disk))
        if now is None:
            found.problems.append(f"machine {vmid} has lost its disk {disk}")
        elif now != size:
            found.problems.append(
                f"{disk} is {now:g} GiB, not {size}: a disk is never resized or replaced here"
            )
    found.vmid = vmid
    found.set, found.unset = changed, sorted(gone)
    found.kind = "change" if set(changed) - {"description"} or gone else "keep"
    if found.kind == "keep":
        found.set = {}
    found.reasons += [f"{k} is {config.get(k, 'unset')}" for k in changed if k != "description"]
    found.reasons += [f"{k} is not described" for k in found.unset]
    return found


def _same(key: str, wanted: Any, found: Any) -> bool:
    """Compare a wanted setting with what the server shows (it adds MAC addresses, turns types)."""
    if found is None:
        return False
    if key.startswith("net"):
        shown = options(str(found))
        model = "virtio" in shown or shown.get("") == "virtio"
        return model and shown.get("bridge") == options(wanted).get("bridge")
    if key.startswith("hostpci"):
        return options(str(found)) == options(wanted)
    return str(found).strip() == str(wanted)


def _size_gib(text: Any) -> float | None:
    """Return the size in GiB of a disk line such as ``lvm:vm-1-disk-0,size=200G``."""
    size = options(str(text)).get("size") if text else None
    units = {"K": 1 / (1 << 20), "M": 1 / 1024, "G": 1.0, "T": 1024.0}
    if not size or size[-1] not in units:
        return None
    try:
        return float(size[:-1]) * units[size[-1]]
    except ValueError:
        return None
