"""The seed of an unattended Ubuntu installation: encrypted root, keys only, no network. Pure.

The format is Ubuntu's autoinstall version 1; storage is curtin's configuration version 1. No
secret is in it but the hash of the administrator's password: the passphrase of the disk is asked
at the keyboard by the installer (``early-commands``).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from appliance.core.errors.host import AutoinstallInvalidError

TEMPLATE = Path(__file__).with_name("autoinstall.yaml")
KEYFILE = "/run/appliance-setup/system-passphrase"
GIB = 1 << 30
# Name, mount point, GiB. /var gets the rest: packages, engine and images. Separate file systems
# keep a full log from stopping the system (CIS 1.1.2), and 86 GiB leave most of the disk to /var.
VOLUMES = (
    ("root", "/", 50),
    ("home", "/home", 8),
    ("var_tmp", "/var/tmp", 4),  # noqa: S108 - a mount point
    ("var_log", "/var/log", 16),
    ("var_log_audit", "/var/log/audit", 8),
)
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1123 label
USER = re.compile(r"[a-z][a-z0-9_-]{0,31}")
SERIAL = re.compile(r"[A-Za-z0-9_.+-]{3,64}")
HASH = re.compile(r"\$(6|y)\$[A-Za-z0-9./$=]{40,200}")
KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp\d+|sk-ssh-ed25519@openssh\.com)"
    r" [A-Za-z0-9+/=]{40,}( [ -~]*)?"
)
PLACE = re.compile(r"[A-Za-z0-9_+./@-]{2,64}")


@dataclass(frozen=True)
class Wanted:
    """What differs between two machines."""

    hostname: str
    user: str
    password_hash: str
    keys: tuple[str, ...]
    disk_serial: str
    locale: str = "en_US.UTF-8"
    keyboard: str = "br"
    timezone: str = "America/Sao_Paulo"


def check(wanted: Wanted) -> None:
    """Raise :class:`AutoinstallInvalidError` naming what cannot be used."""
    rules = (
        ("hostname", wanted.hostname, NAME, "a host name of small letters, digits and hyphens"),
        ("user", wanted.user, USER, "an account name of small letters and digits"),
        ("disk serial", wanted.disk_serial, SERIAL, "the serial number that lsblk -o SERIAL shows"),
        ("locale", wanted.locale, PLACE, "a locale such as pt_BR.UTF-8"),
        ("keyboard", wanted.keyboard, PLACE, "a layout such as br"),
        ("time zone", wanted.timezone, PLACE, "a time zone such as America/Sao_Paulo"),
    )
    for what, value, pattern, expected in rules:
        if not pattern.fullmatch(value):
            raise AutoinstallInvalidError(expected=expected, found=f"another {what}")
    if not HASH.fullmatch(wanted.password_hash):
        raise AutoinstallInvalidError(
            expected="a SHA-512 or yescrypt hash of the administrator's password",
            found="something else",
            remedy="Make it with: openssl passwd -6 > hash; name that file.",
        )
    if not wanted.keys or not all(KEY.fullmatch(key) for key in wanted.keys):
        raise AutoinstallInvalidError(
            expected="at least one public SSH key, whole lines of .pub files",
            found=f"{len(wanted.keys)} lines, not all of that form" if wanted.keys else "none",
            remedy="ssh-keygen -t ed25519; put the .pub file's line into host.admin_keys.",
        )


def storage(serial: str) -> dict[str, Any]:
    """Return curtin's storage: EFI and /boot in the clear, the rest in LVM on one LUKS2 volume."""
    items: list[dict[str, Any]] = [
        {
            "id": "disk",
            "type": "disk",
            "match": {"serial": serial},
            "ptable": "gpt",
            "preserve": False,
            "wipe": "superblock-recursive",
            "grub_device": False,
        },
        _part("efi", 1, GIB, flag="boot", grub_device=True),
        _part("boot", 2, 2 * GIB),
        _part("secret", 3, -1),
        {
            "id": "crypt",
            "type": "dm_crypt",
            "volume": "secret",
            "dm_name": "system",
            "keyfile": KEYFILE,
        },
        {"id": "vg", "type": "lvm_volgroup", "name": "system", "devices": ["crypt"]},
    ]
    items += _filled("efi", "fat32", "/boot/efi")
    items += _filled("boot", "ext4", "/boot", "nodev,nosuid,noexec")
    for name, place, gib in VOLUMES:
        items.append(_volume(name, str(gib * GIB)))
        items += _filled(name, "ext4", place, _options(place))
    items.append(_volume("var", "-1"))
    items += _filled("var", "ext4", "/var", "nodev,nosuid")
    return {"version": 1, "swap": {"size": 0}, "config": items}


def _part(name: str, number: int, size: int, **more: Any) -> dict[str, Any]:
    return {
        "id": name,
        "type": "partition",
        "device": "disk",
        "number": number,
        "size": size,
        "preserve": False,
        "wipe": "superblock",
        **more,
    }


def _volume(name: str, size: str) -> dict[str, Any]:
    return {"id": name, "type": "lvm_partition", "volgroup": "vg", "name": name, "size": size}


def _filled(volume: str, kind: str, place: str, options: str = "") -> list[dict[str, Any]]:
    mount: dict[str, Any] = {
        "id": f"mount-{volume}",
        "type": "mount",
        "device": f"format-{volume}",
        "path": place,
    }
    if options:
        mount["options"] = options
    return [{"id": f"format-{volume}", "type": "format", "volume": volume, "fstype": kind}, mount]


def _options(place: str) -> str:
    if place == "/":
        return ""
    return "nodev,nosuid" if place == "/home" else "nodev,nosuid,noexec"


def autoinstall(wanted: Wanted) -> dict[str, Any]:
    """Return the document; raise :class:`AutoinstallInvalidError`."""
    check(wanted)
    document: dict[str, Any] = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    document["autoinstall"] |= {
        "locale": wanted.locale,
        "keyboard": {"layout": wanted.keyboard},
        "timezone": wanted.timezone,
        "identity": {
            "hostname": wanted.hostname,
            "username": wanted.user,
            "realname": "Administrator of the appliance",
            "password": wanted.password_hash,
        },
        "ssh": {"install-server": True, "allow-pw": False, "authorized-keys": list(wanted.keys)},
        "storage": storage(wanted.disk_serial),
    }
    return document


def render(wanted: Wanted) -> str:
    """Return the ``user-data`` file; the same settings give the same bytes."""
    body = yaml.safe_dump(autoinstall(wanted), sort_keys=False, allow_unicode=False, width=100)
    return f"#cloud-config\n{body}"
