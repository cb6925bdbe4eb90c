"""``host verify``: look at the machine itself, whatever Ansible said of it."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from appliance.host.checks import Check
from appliance.host.declaration import Declaration
from appliance.host.exceptions import register_check
from appliance.host.machine import Machine
from appliance.host.verify_engine import engine_checks
from appliance.host.verify_network import network_checks
from appliance.host.verify_nvidia import nvidia_checks
from appliance.host.verify_storage import storage_checks
from appliance.host.verify_system import system_checks

PARTS = ("storage", "network", "system", "engine", "nvidia", "exceptions")


def verify(
    machine: Machine,
    declared: Declaration,
    register: Path,
    today: date,
    parts: tuple[str, ...] = PARTS,
) -> list[Check]:
    """Return every check of the named ``parts``, in order; raises nothing."""
    looks = {
        "storage": lambda: storage_checks(machine, declared.site),
        "network": lambda: network_checks(machine, declared),
        "system": lambda: system_checks(machine),
        "engine": lambda: engine_checks(machine, declared.services),
        "nvidia": lambda: nvidia_checks(machine),
        "exceptions": lambda: [register_check(register, today)],
    }
    return [check for part in parts for check in looks[part]()]
