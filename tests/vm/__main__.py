"""``python -m tests.vm``: the proof in a guest. Called by ``./run vm-test``."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests.vm import image, medium, stick
from tests.vm.guest import Guest
from tests.vm.proof import Proof, run
from tests.vm.whole import Options, Whole, run_whole, steps_of

_TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "swtpm": "swtpm",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "mkfs.vfat": "dosfstools",
    "mcopy": "mtools",
    "ip": "iproute2",
}


def main() -> int:
    """Make the blank machine and the stick, run the proof, print one JSON object."""
    given = _arguments()
    missing = [package for tool, package in _TOOLS.items() if shutil.which(tool) is None]
    if missing:
        sys.stderr.write(f"vm-test: expected these packages: {' '.join(missing)}\n")
        return 3
    folder: Path = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    proof = _quick(folder, given) if given.quick else _whole(folder, given)
    report = proof.report()
    (folder / "report.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(report) + "\n")
    return 0 if report["ok"] else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vm-test", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="storage and its ways in only")
    parser.add_argument("--kvm", action="store_true", help="use /dev/kvm (where it works)")
    parser.add_argument("--folder", type=Path, default=Path(".run/vm"), help="images and logs")
    parser.add_argument("--boot-seconds", type=float, default=600, help="limit of one start")
    parser.add_argument("--bundle", type=Path, help="a built bundle (default: build it)")
    parser.add_argument("--root", type=Path, help="with --bundle: its signed root")
    parser.add_argument("--images", type=Path, help="a folder with the image archives to carry")
    parser.add_argument(
        "--cut", type=float, action="append", help="seconds into provisioning (repeatable)"
    )
    parser.add_argument("--no-network", action="store_true", help="leave the variant out")
    parser.add_argument("--scores", action="store_true", help="Lynis and OpenSCAP, long")
    parser.add_argument("--skip", metavar="STEP", action="append", default=[], help="leave it out")
    parser.add_argument("--keep", action="store_true", help="leave the guest on, to look into it")
    parser.add_argument(
        "--go-on", metavar="STEP", default="", help="in a guest that was left on, from this step"
    )
    given = parser.parse_args()
    if given.quick and (given.go_on or given.skip):
        parser.error("expected --go-on and --skip with the whole proof, found --quick")
    if (given.bundle is None) != (given.root is None) or (given.go_on and given.bundle is None):
        parser.error("expected --bundle and --root together; --go-on needs both")
    return given


def _quick(folder: Path, given: argparse.Namespace) -> Proof:
    blank = image.build(folder / "blank", with_roles=True)
    guest = Guest(
        folder / "guest",
        blank,
        stick=stick.build(folder / "stick.img"),
        kvm=given.kvm,
        boot_timeout_s=given.boot_seconds,
    )
    proof = Proof(guest, folder, ("storage",))
    _fresh(guest, lambda: run(proof, ("storage",)), keep=given.keep)
    return proof


def _whole(folder: Path, given: argparse.Namespace) -> Proof:
    blank = image.build(
        folder / "blank-whole", with_roles=False, with_scores=given.scores, disk_mib=16_384
    )
    if given.bundle is None:
        bundle, root = medium.build(folder, "debian-12", given.images)
    else:
        bundle, root = given.bundle, given.root
    carried = medium.stick(bundle, root, folder / "stick-whole.img", again=bool(given.go_on))
    guest = Guest(
        folder / "guest-whole",
        blank,
        memory_mib=6144,
        stick=carried.image,
        safe=medium.fat(folder / "safe.img", "SAFE", 64, [], again=bool(given.go_on)),
        data_mib=24_576,
        cache="writeback",
        kvm=given.kvm,
        boot_timeout_s=given.boot_seconds,
    )
    proof = Proof(guest, folder, ())
    options = Options(not given.no_network, given.scores, tuple(given.skip))
    if given.cut is not None:
        options.cuts = tuple(given.cut)
    whole = Whole(proof, carried, options)
    names = [step.name for step in steps_of(whole)]
    if unknown := [name for name in (*given.skip, given.go_on) if name and name not in names]:
        sys.stderr.write(f"vm-test: expected steps of: {'; '.join(names)}\nfound: {unknown}\n")
        sys.exit(2)
    if given.go_on:
        guest.attach()
        run_whole(whole, given.go_on)
        return proof
    try:
        _fresh(guest, lambda: run_whole(whole), keep=given.keep)
    finally:
        if not given.keep:
            whole.cable.unplug()
    return proof


def _fresh(guest: Guest, work: Callable[[], None], *, keep: bool) -> None:
    shutil.rmtree(guest.folder, ignore_errors=True)
    guest.prepare()
    try:
        work()
    finally:
        if not keep:
            guest.stop(cut=True)


if __name__ == "__main__":
    sys.exit(main())
