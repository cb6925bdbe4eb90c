#!/usr/bin/python3
"""List the NVIDIA display devices that the PCI bus shows, as JSON; works without any driver."""

from __future__ import annotations

import json
import sys
from pathlib import Path

VENDOR = "0x10de"
DISPLAY = "0x03"  # PCI class 03: display controllers


def cards(root: Path) -> list[dict[str, str]]:
    """Return address and device number of each card."""
    found = []
    for device in sorted(root.glob("*")):
        vendor = (device / "vendor").read_text().strip()
        kind = (device / "class").read_text().strip()
        if vendor == VENDOR and kind.startswith(DISPLAY):
            number = (device / "device").read_text().strip()
            found.append({"address": device.name, "device": number})
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"cards": cards(Path("/sys/bus/pci/devices"))}) + "\n")
