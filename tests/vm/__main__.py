"""``python -m tests.vm``: the proof in a guest. Called by ``./run vm-test``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path

from tests.vm import image, stick
from tests.vm.guest import Guest
from tests.vm.proof import Proof, run

_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "swtpm": "swtpm",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
}


def main() -> int:
    """Make the blank machine and the stick, run the proof, print one JSON object."""
    parser = argparse.ArgumentParser(prog="vm-test", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="storage and its ways in only")
    parser.add_argument("--kvm", action="store_true", help="use /dev/kvm (where it works)")
    parser.add_argument("--folder", type=Path, default=Path(".run/vm"), help="images and logs")
    parser.add_argument("--boot-seconds", type=float, default=600, help="limit of one start")
    given = parser.parse_args()
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if missing:
        sys.stderr.write(f"vm-test: expected these packages: {' '.join(missing)}\n")
        return 3
    folder = given.folder.resolve()
    blank = image.build(folder / "blank", with_roles=given.quick)
    medium = stick.build(folder / "stick.img")
    guest = Guest(
        folder / "guest", blank, stick=medium, kvm=given.kvm, boot_timeout_s=given.boot_seconds
    )
    shutil.rmtree(guest.folder, ignore_errors=True)
    guest.prepare()
    proof = Proof(guest, folder, ("storage",) if given.quick else ())
    parts = ("storage",) if given.quick else ()
    try:
        run(proof, parts)
    finally:
        guest.stop(cut=True)
    report = proof.report()
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
