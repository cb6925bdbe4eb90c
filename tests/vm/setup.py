"""The agent on the blank machine, and its settings."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from tests.vm import lan
from tests.vm.guest import DATA_DISK, STICK, Guest

HOME = "/var/lib/appliance-setup"
CONTENT = "/opt/appliance/content"
PASSPHRASE = "correct-horse-battery-staple-proof"
_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBUoAGkrCM4Uj0TKfuhPGEJQIYDNZ2UovsZu9RUEvZzv proof"
_WRAPPER = """#!/bin/sh
exec /usr/bin/python3 -m {module} "$@"
"""
_TOOLS = {
    "ansible": "ansible.cli.adhoc",
    "ansible-playbook": "ansible.cli.playbook",
    "ansible-inventory": "ansible.cli.inventory",
    "ansible-config": "ansible.cli.config",
    "appliance": "appliance.cli.main",
}


COMMAND = f"export PATH=/usr/local/bin:$PATH; cd /; appliance --home {HOME}"


@dataclass(frozen=True)
class Site:
    """What the settings of the guest say."""

    recovery_file: str = "/media/stick/recovery.key"
    address: str = ""
    interface: str = ""

    def toml(self) -> str:
        """Return the ``appliance.toml``."""
        lines = [
            "[audit]",
            "start_timeout_s = 240",  # a writer's first start under emulation on a loaded machine
            "[host]",
            f'data_disk = "{DATA_DISK}"',
            f'recovery_file = "{self.recovery_file}"',
            f'admin_keys = ["{_KEY}"]',
        ]
        if self.address:
            lines += [f'address = "{self.address}"', f'interface = "{self.interface}"']
            lines += ["[host.networks]", f'admin = ["{lan.ADMINS}"]']
            lines += [f'clients = ["{lan.CLIENTS}"]', f'reviewers = ["{lan.REVIEWERS}"]']
        return "\n".join(lines) + "\n"


def put(guest: Guest, path: str, text: str, mode: str = "0644") -> None:
    """Write a small file in the guest."""
    coded = base64.b64encode(text.encode()).decode()
    guest.must(f"install -D -m {mode} /dev/null {path} && echo {coded} | base64 -d > {path}")


def plug_in(guest: Guest) -> None:
    """Mount the stick, as a person would."""
    guest.must(
        f"for n in $(seq 60); do [ -e {STICK} ] && break; sleep 1; done;"
        f" mkdir -p /media/stick && {{ mountpoint -q /media/stick || mount {STICK} /media/stick; }}"
    )


def give_passphrase(guest: Guest) -> None:
    """Type the passphrase into the file in memory."""
    put(guest, "/run/appliance-setup/passphrase", PASSPHRASE + "\n", "0600")


def install_agent(guest: Guest, site: Site) -> str:
    """Put the agent on the machine from the stick and write the settings."""
    plug_in(guest)
    guest.must(
        "mkdir -p /opt/appliance && cp -r /media/stick/site /media/stick/content /opt/appliance/"
    )
    put(
        guest,
        "/usr/local/lib/python3.11/dist-packages/appliance.pth",
        f"/opt/appliance/site\n{CONTENT}\n",
    )
    for name, module in _TOOLS.items():
        put(guest, f"/usr/local/bin/{name}", _WRAPPER.format(module=module), "0755")
    put(guest, f"{HOME}/appliance.toml", site.toml())
    give_passphrase(guest)
    return guest.must(f"{COMMAND} --version").strip()
