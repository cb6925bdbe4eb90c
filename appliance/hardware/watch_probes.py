"""The readings of the watch, from this machine."""

from __future__ import annotations

from appliance.core.settings.hardware import HardwareSettings
from appliance.hardware import trees
from appliance.hardware.nvml import NvmlChild, driver_present
from appliance.hardware.probing import (
    COMMANDS,
    FILES,
    adjtimex,
    block_devices_only,
    gpu_readings,
    smart_disks,
)
from appliance.hardware.readings import Reading
from appliance.hardware.system import LiveSystem, System


class LiveProber:
    """Looks at this machine; keeps one NVML child for all looks."""

    def __init__(self, settings: HardwareSettings, system: System | None = None) -> None:
        """Start nothing yet."""
        self._system = system or LiveSystem(settings.command_seconds, settings.command_max_bytes)
        self._child = NvmlChild(settings.command_seconds)

    def fast(self) -> dict[str, Reading]:
        """Return cards, driver, temperatures and clock."""
        system = self._system
        return {
            **gpu_readings(system, self._child.ask, driver_present),
            "pci": trees.pci(system),
            "nvidia-version": system.text(FILES["nvidia-version"]),
            "sensors": trees.sensors(system),
            "adjtimex": adjtimex(),
        }

    def slow(self) -> dict[str, Reading]:
        """Return disks, their health, free space and the TPM."""
        system = self._system
        lsblk = system.run(COMMANDS["lsblk"])
        smart = {
            f"smart-{name}": system.run(("smartctl", "-j", "-i", "-H", "-A", f"/dev/{name}"))
            for name in smart_disks(lsblk)
        }
        return {
            "lsblk": lsblk,
            "df": block_devices_only(system.run(COMMANDS["df"])),
            "tpm": trees.tpm(system),
            **smart,
        }

    def close(self) -> None:
        """End the NVML child."""
        self._child.close()
