"""Plan, create, show and remove the appliance's virtual machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from appliance.audit.recorder import Recorder
from appliance.core.errors.host import ProxmoxAnswerError, ProxmoxRefusedError, VmConflictError
from appliance.host.vm.client import Patience, Proxmox, data, wait_for
from appliance.host.vm.plan import Plan, Site, find, is_ours, plan
from appliance.host.vm.spec import VmSpec

UNKNOWN = 1 << 62  # bytes; more than any server has, so that no second problem is told


@dataclass(frozen=True)
class Machines:
    """The virtual machines of one Proxmox VE cluster, as the appliance handles them."""

    api: Proxmox
    recorder: Recorder
    patience: Patience = field(default_factory=Patience)

    def plan(self, spec: VmSpec) -> Plan:
        """Read the server and say what would be done; nothing is changed."""
        return plan(spec, self._site(spec))

    def create(self, spec: VmSpec) -> dict[str, Any]:
        """Make the machine, or bring its settings to the description; again changes nothing."""
        found = self.plan(spec)
        if found.problems:
            raise VmConflictError(
                expected="a server on which the machine can be made",
                found="; ".join(found.problems),
            )
        if found.kind == "keep":
            return {"changed": False, **found.to_dict()}
        detail: dict[str, str | int | float | bool | None] = {
            "action": found.kind,
            "node": spec.node,
            "gpus": len(spec.gpus),
        }
        with self.recorder.action("host.vm_create", object_id=spec.hash, detail=detail) as act:
            vmid = (
                self._create(spec, found) if found.kind == "create" else self._change(spec, found)
            )
            act.detail["vmid"] = vmid
            after = self.plan(spec)
            if after.kind != "keep" or after.problems:
                raise ProxmoxAnswerError(
                    expected=f"machine {vmid} as described after the task ended with OK",
                    found="; ".join(after.problems + after.reasons) or after.kind,
                )
        return {"changed": True, **found.to_dict(), "vmid": vmid}

    def status(self, node: str, name: str) -> dict[str, Any]:
        """Return what the machine is and does now."""
        machine, config = self._named(name)
        if machine is None:
            return {"exists": False, "name": name}
        base = f"nodes/{machine.get('node', node)}/qemu/{machine['vmid']}"
        state = data(self.api.call("get", f"{base}/status/current"), dict, "status/current")
        return {
            "exists": True,
            "name": name,
            "vmid": machine["vmid"],
            "node": machine.get("node"),
            "ours": is_ours(config),
            "status": state.get("status", "unknown"),
            "lock": state.get("lock"),
            "gpus": sorted(v for k, v in config.items() if k.startswith("hostpci")),
            "network": sorted(v for k, v in config.items() if k.startswith("net")),
        }

    def destroy(self, name: str) -> dict[str, Any]:
        """Remove the machine and its disks; only one that this command made, and only stopped."""
        machine, config = self._named(name)
        if machine is None:
            return {"changed": False, "exists": False, "name": name}
        vmid, node = machine["vmid"], str(machine["node"])
        if not is_ours(config):
            raise VmConflictError(
                expected="a machine made by this command",
                found=f"machine {vmid} without its mark",
                remedy="Remove it in Proxmox VE yourself if that is what you want.",
            )
        base = f"nodes/{node}/qemu/{vmid}"
        state = data(self.api.call("get", f"{base}/status/current"), dict, "status/current")
        if state.get("lock"):
            raise VmConflictError(expected="no lock on it", found=f"lock: {state['lock']}")
        if state.get("status") != "stopped":
            raise VmConflictError(
                expected="a stopped machine",
                found=str(state.get("status")),
                remedy="Shut it down first, so that nothing is lost; then run this again.",
            )
        with self.recorder.action("host.vm_destroy", object_id=str(vmid), detail={"node": node}):
            task = self.api.call("delete", base, purge=1, **{"destroy-unreferenced-disks": 1})
            wait_for(self.api, node, task, self.patience)
        return {"changed": True, "exists": False, "name": name, "vmid": vmid}

    def _create(self, spec: VmSpec, found: Plan) -> int:
        vmid = found.vmid or int(self.api.call("get", "cluster/nextid"))
        task = self.api.call("post", f"nodes/{spec.node}/qemu", vmid=vmid, **found.set)
        wait_for(self.api, spec.node, task, self.patience)
        return vmid

    def _change(self, spec: VmSpec, found: Plan) -> int:
        assert found.vmid is not None
        base = f"nodes/{spec.node}/qemu/{found.vmid}"
        state = data(self.api.call("get", f"{base}/status/current"), dict, "status/current")
        if state.get("lock"):
            raise VmConflictError(expected="no lock on it", found=f"lock: {state['lock']}")
        changes = dict(found.set)
        if found.unset:
            changes["delete"] = ",".join(found.unset)
        task = self.api.call("post", f"{base}/config", **changes)
        if task is not None:
            wait_for(self.api, spec.node, task, self.patience)
        return found.vmid

    def _machines(self) -> tuple[Mapping[str, Any], ...]:
        where = "cluster/resources"
        rows = data(self.api.call("get", where, type="vm"), list, where)
        for row in rows:
            if not isinstance(row, dict) or not isinstance(row.get("vmid"), int):
                raise ProxmoxAnswerError(
                    expected="machines with a number", found="a row without one"
                )
        return tuple(rows)

    def _named(self, name: str) -> tuple[Mapping[str, Any] | None, Mapping[str, Any]]:
        same = find(self._machines(), name)
        if len(same) > 1:
            raise VmConflictError(expected="one machine of this name", found=str(len(same)))
        if not same:
            return None, {}
        path = f"nodes/{same[0]['node']}/qemu/{same[0]['vmid']}/config"
        return same[0], data(self.api.call("get", path), dict, path)

    def _site(self, spec: VmSpec) -> Site:
        machines = self._machines()
        nodes = tuple(
            str(row.get("node")) for row in data(self.api.call("get", "nodes"), list, "nodes")
        )
        if spec.node not in nodes:
            return Site(
                nodes, 1 << 62, dict.fromkeys(spec.gpus, (spec.node,)), 1 << 62, {}, machines
            )
        base = f"nodes/{spec.node}"
        memory = data(self.api.call("get", f"{base}/status"), dict, "status").get("memory", {})
        same = find(machines, spec.name)
        config = None
        if len(same) == 1:
            path = f"nodes/{same[0]['node']}/qemu/{same[0]['vmid']}/config"
            config = data(self.api.call("get", path), dict, path)
        return Site(
            nodes=nodes,
            node_memory_bytes=int(memory.get("total", 0)),
            mappings=self._mappings() if spec.gpus else {},
            storage_free_bytes=self._free(base, spec.storage),
            bridge_ports=self._bridges(base) if spec.bridge else {},
            machines=machines,
            config=config,
        )

    def _mappings(self) -> dict[str, tuple[str, ...]]:
        where = "cluster/mapping/pci"
        found: dict[str, tuple[str, ...]] = {}
        for row in data(self.api.call("get", where), list, where):
            lines = [str(line).split(",") for line in row.get("map", [])]
            nodes = [p.removeprefix("node=") for line in lines for p in line if p[:5] == "node="]
            found[str(row.get("id"))] = tuple(nodes)
        return found

    def _free(self, base: str, storage: str) -> int | None:
        rows = data(self.api.call("get", f"{base}/storage"), list, "storage")
        row = next((r for r in rows if r.get("storage") == storage), None)
        if row is None:
            return None
        if "images" not in str(row.get("content", "")).split(","):
            raise ProxmoxRefusedError(
                expected=f"storage {storage} to take disk images", found=str(row.get("content"))
            )
        return int(row.get("avail", 0))

    def _bridges(self, base: str) -> dict[str, str]:
        rows = data(self.api.call("get", f"{base}/network", type="any_bridge"), list, "network")
        return {str(r.get("iface")): str(r.get("bridge_ports") or "").strip() for r in rows}
