"""The encrypted data volume, its ways in, and swap."""

from __future__ import annotations

import re
from typing import Any

from appliance.core.settings.host import HostSettings
from appliance.host.checks import Check, Question
from appliance.host.machine import Machine

_MIN_KEY_BITS = 512  # XTS splits it: AES-256
_TPM, _RECOVERY = "systemd-tpm2", "systemd-recovery"


def storage_checks(machine: Machine, site: HostSettings) -> list[Check]:
    """Return the checks of the data volume and of swap."""
    return [
        _mounted(machine, site),
        *_luks(machine, site),
        _crypttab(machine, site),
        _swap(machine),
    ]


def _mounted(machine: Machine, site: HostSettings) -> Check:
    question = Question(
        "data-volume",
        f"/dev/mapper/{site.data_label} mounted at {site.home} with nodev,nosuid",
        "Run: appliance host provision. After a firmware update the passphrase may be needed once.",
    )
    reading = machine.run(["findmnt", "--json", "--mountpoint", str(site.home)])
    if not reading.ok:
        plain = machine.run(["findmnt", "--json", "--mountpoint", "/"])
        return (
            question.judged(ok=False, found="not mounted") if plain.ok else question.unknown(plain)
        )
    systems = (reading.json() or {}).get("filesystems") or [{}]
    source, options = str(systems[0].get("source")), str(systems[0].get("options", "")).split(",")
    missing = [word for word in ("nodev", "nosuid") if word not in options]
    ok = source == f"/dev/mapper/{site.data_label}" and not missing
    return question.judged(ok, f"{source}, lacking {missing}" if missing else source)


def _luks(machine: Machine, site: HostSettings) -> list[Check]:
    names = ("luks-cipher", "luks-passphrase", "luks-recovery-key") + (
        ("luks-tpm",) if site.tpm else ()
    )
    expected = {
        "luks-cipher": f"LUKS2, aes-xts-plain64, a key of {_MIN_KEY_BITS} bits",
        "luks-passphrase": "a key slot with a passphrase (Argon2id)",
        "luks-recovery-key": "a key slot with the escrowed recovery key",
        "luks-tpm": "a key slot the TPM 2 opens",
    }
    remedy = {
        "luks-cipher": "Back up, then provision the volume anew.",
        "luks-passphrase": "Add one: cryptsetup luksAddKey.",
        "luks-recovery-key": "Enrol one: systemd-cryptenroll --recovery-key; keep it in the safe.",
        "luks-tpm": "Run: appliance host provision (a firmware update may have cut the binding).",
    }
    questions = [Question(name, expected[name], remedy[name]) for name in names]
    status = machine.run(["cryptsetup", "status", site.data_label])
    device = re.search(r"^\s*device:\s*(\S+)$", status.text, re.MULTILINE)
    if not status.ok or device is None:
        return [
            question.unknown(status if not status.ok else "no device") for question in questions
        ]
    dump = machine.run(["cryptsetup", "luksDump", "--dump-json-metadata", device[1]])
    metadata = dump.json()
    if not isinstance(metadata, dict):
        return [question.unknown(dump if not dump.ok else "not LUKS2") for question in questions]
    found = _ways_in(metadata)
    return [question.judged(*found[question.name]) for question in questions]


def _ways_in(metadata: dict[str, Any]) -> dict[str, tuple[bool, str]]:
    """Read the ways into a volume from its LUKS2 metadata."""
    tokens = list(metadata.get("tokens", {}).values())
    slots = metadata.get("keyslots", {})
    held = {kind: _slots(tokens, kind) & set(slots) for kind in (_TPM, _RECOVERY)}
    plain = set(slots) - held[_TPM] - held[_RECOVERY]
    slow = {n for n in plain if slots[n].get("kdf", {}).get("type") == "argon2id"}
    segment: dict[str, Any] = next(iter(metadata.get("segments", {}).values()), {})
    bits = min((8 * int(slot.get("key_size", 0)) for slot in slots.values()), default=0)
    cipher = str(segment.get("encryption", "none"))
    return {
        "luks-cipher": (
            cipher == "aes-xts-plain64" and bits >= _MIN_KEY_BITS,
            f"{cipher}, {bits} bits",
        ),
        "luks-passphrase": (bool(slow), f"{len(slow)} such slots of {len(slots)}"),
        "luks-recovery-key": (bool(held[_RECOVERY]), f"{len(held[_RECOVERY])} such slots"),
        "luks-tpm": (bool(held[_TPM]), f"{len(held[_TPM])} such slots"),
    }


def _slots(tokens: list[dict[str, Any]], kind: str) -> set[str]:
    return {str(s) for t in tokens if t.get("type") == kind for s in t.get("keyslots", [])}


def _crypttab(machine: Machine, site: HostSettings) -> Check:
    question = Question(
        "crypttab",
        f"a line for {site.data_label} that names the disk by UUID or by-id",
        "Run: appliance host provision. Names like /dev/sdb change between boots.",
    )
    reading = machine.text("/etc/crypttab")
    if not reading.ok:
        return question.unknown(reading)
    rows = [line.split() for line in reading.text.splitlines() if not line.startswith("#")]
    source = next((row[1] for row in rows if len(row) > 1 and row[0] == site.data_label), "no line")
    return question.judged(source.startswith(("UUID=", "LABEL=", "/dev/disk/by-")), source)


def _swap(machine: Machine) -> Check:
    question = Question(
        "swap",
        "no swap, or encrypted swap",
        "Run: swapoff -a and appliance host provision: memory holds patients' text.",
    )
    reading = machine.text("/proc/swaps")
    if not reading.ok:
        return question.unknown(reading)
    areas = [line.split()[0] for line in reading.text.splitlines()[1:] if line.strip()]
    open_ones = []
    for area in areas:
        kind = machine.run(["lsblk", "--noheadings", "--nodeps", "--output", "TYPE", area])
        if not area.startswith("/dev/zram") and kind.text.strip() != "crypt":
            open_ones.append(area)
    return question.judged(not open_ones, ", ".join(open_ones) or f"{len(areas)} areas, encrypted")
