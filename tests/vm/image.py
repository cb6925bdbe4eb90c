"""The blank machine: a Debian 12 disk image, made from Debian packages alone.

The machine is as an installer would leave it, plus the harness's own way in. What the appliance
needs beyond that comes on the medium.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

SUITE = "bookworm"
MIRRORS = (
    f"deb http://deb.debian.org/debian {SUITE} main",
    f"deb http://deb.debian.org/debian-security {SUITE}-security main",
)
BASE = [
    "systemd-sysv",
    "init",
    "udev",
    "dbus",
    "libpam-systemd",
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "kmod",
    "openssh-server",
    "openssh-client",
    "python3",
    "python3-venv",
    "python3-apt",
    "sudo",
    "iproute2",
    "procps",
    "e2fsprogs",
    "dosfstools",
    "parted",
    "gdisk",
    "gnupg",
    "ca-certificates",
    "util-linux-extra",
    "less",
    "openssl",
    "apparmor",
]
# What the roles install from the medium; the quick form finds it there already.
ROLES = [
    "cryptsetup",
    "tpm2-tools",
    "libtss2-esys-3.0.2-0",
    "libtss2-rc0",
    "libtss2-mu0",
    "libtss2-tcti-device0",
    "docker.io",
    "apparmor-utils",
    "ufw",
    "iptables",
    "nftables",
    "auditd",
    "audispd-plugins",
    "libpam-pwquality",
    "libpam-tmpdir",
    "libpam-apparmor",
    "cracklib-runtime",
    "logrotate",
    "aide",
    "acct",
    "debsums",
    "sysstat",
    "locales",
    "chrony",
]
# What judges the machine from inside; the appliance itself carries neither.
SCORES = ["lynis", "openscap-scanner"]
# Bookworm's own content knows no Debian 12.
_SSG = "pool/main/s/scap-security-guide/ssg-debian_0.1.76-1_all.deb"
_SSG_SHA256 = "f6880719015c16e8e221bc2503c0e5a9f83d6a09fc6f9292d3522e46bf4fc9d7"
_UNIT = """[Unit]
Description=The proof's own way in
DefaultDependencies=no
After=systemd-udevd.service local-fs-pre.target
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStart=/usr/bin/python3 /usr/local/lib/proof/guest_agent.py
Restart=always
RestartSec=1
[Install]
WantedBy=sysinit.target
"""
# Only what this machine boots from: a small initramfs unpacks fast without KVM.
_MODULES = "virtio_pci\nvirtio_blk\next4\n"
_AGENT = Path(__file__).parent / "guest_agent.py"


@dataclass(frozen=True)
class Blank:
    """A machine's system disk with the kernel that boots it."""

    disk: Path
    kernel: Path
    initrd: Path


def build(
    folder: Path, *, with_roles: bool, with_scores: bool = False, disk_mib: int = 6144
) -> Blank:
    """Make the image in ``folder``, or return the one made there before. Needs root.

    ``with_roles`` puts the packages of the roles in already (the quick form), ``with_scores``
    Lynis and OpenSCAP with its content.
    """
    packages = BASE + (ROLES if with_roles else []) + (SCORES if with_scores else [])
    mark = hashlib.sha256("\n".join([*packages, *MIRRORS, _UNIT, _AGENT.read_text()]).encode())
    stamp = folder / f"{mark.hexdigest()[:16]}.done"
    blank = Blank(folder / "system.img", folder / "vmlinuz", folder / "initrd")
    if stamp.is_file() and blank.disk.is_file():
        return blank
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.done"):
        old.unlink()
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    _bootstrap(root, packages)
    finish(root)
    if with_scores:
        _content(root)
    pack(root, blank, disk_mib)
    shutil.rmtree(root)
    stamp.touch()
    return blank


def _bootstrap(root: Path, packages: list[str]) -> None:
    leave_out = [f"--dpkgopt=path-exclude=/usr/share/{n}/*" for n in ("man", "doc", "locale")]
    subprocess.run(
        [
            "mmdebstrap",
            "--mode=root",
            "--variant=minbase",
            "--quiet",
            "--skip=check/empty",
            '--aptopt=Acquire::Languages "none"',
            *leave_out,
            f"--include={','.join(packages)}",
            SUITE,
            str(root),
            *MIRRORS,
        ],
        check=True,
    )


def _content(root: Path) -> None:
    archive = root.parent / "ssg.deb"
    url = f"{MIRRORS[0].split()[1]}/{_SSG}"
    with urllib.request.urlopen(url, timeout=60) as reply:
        archive.write_bytes(reply.read())
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != _SSG_SHA256:
        raise RuntimeError(f"expected {_SSG_SHA256} of {_SSG}, found {found}")
    target = root / "opt/proof/ssg"
    target.mkdir(parents=True)
    subprocess.run(["dpkg-deb", "-x", str(archive), str(target)], check=True)


def finish(root: Path) -> None:
    """Put in the machine's name, its fstab and the harness's way in."""
    (root / "etc/hostname").write_text("blank\n")
    (root / "etc/fstab").write_text("LABEL=system / ext4 defaults 0 1\n")
    (root / "etc/initramfs-tools/modules").write_text(_MODULES)
    conf = root / "etc/initramfs-tools/conf.d/proof"
    conf.write_text("MODULES=list\n")
    place = root / "usr/local/lib/proof"
    place.mkdir(parents=True, exist_ok=True)
    shutil.copy(_AGENT, place / _AGENT.name)
    (root / "etc/systemd/system/proof.service").write_text(_UNIT)
    wants = root / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(exist_ok=True)
    link = wants / "proof.service"
    link.unlink(missing_ok=True)
    link.symlink_to("../proof.service")
    # The roles start the engine; a blank machine has none.
    for unit in ("docker.service", "docker.socket", "containerd.service"):
        subprocess.run(["systemctl", "--root", str(root), "--quiet", "disable", unit], check=False)
    (root / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    subprocess.run(["chroot", str(root), "update-initramfs", "-u", "-k", "all"], check=True)


def pack(root: Path, blank: Blank, disk_mib: int) -> None:
    """Write ``root`` into a file system image and take its kernel out."""
    shutil.copy(next((root / "boot").glob("vmlinuz-*")), blank.kernel)
    shutil.copy(next((root / "boot").glob("initrd.img-*")), blank.initrd)
    blank.disk.unlink(missing_ok=True)
    subprocess.run(["truncate", "--size", f"{disk_mib}M", str(blank.disk)], check=True)
    command = [
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-L",
        "system",
        "-E",
        "root_owner=0:0",
        "-d",
        str(root),
    ]
    subprocess.run([*command, str(blank.disk)], check=True)
