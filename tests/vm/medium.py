"""The signed bundle of Debian 12 on a virtual USB stick (FAT32), and the stick for the safe.

The keys are made for the proof alone and are worth nothing elsewhere.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PASSPHRASE = "a passphrase of the proof's own keys"
_MIB = 1 << 20
_HOLDERS = ("r1", "r2", "r3", "release")


@dataclass(frozen=True)
class Medium:
    """A stick and what the paper beside it says."""

    image: Path
    fingerprint: str
    verifier_sha256: str


def agent(*words: str) -> dict[str, object]:
    """Run a command of the agent of this environment; return its object."""
    command = [sys.executable, "-m", "appliance.cli.main", *words, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    value = json.loads(done.stdout)
    assert isinstance(value, dict)
    return value


def ceremony(folder: Path) -> Path:
    """Make three root keys and a release key; return the signed root."""
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "1.root.json"
    if root.is_file():
        return root
    secret = folder / "passphrase"
    secret.write_text(PASSPHRASE + "\n", encoding="utf-8")
    told = ("--passphrase-file", str(secret))
    for name in _HOLDERS:
        (folder / f"{name}.key").unlink(missing_ok=True)
        agent("bundle", "keys", "new", str(folder / f"{name}.key"), *told)
    holders = [word for n in _HOLDERS[:3] for word in ("--root-key", str(folder / f"{n}.key"))]
    draft = folder / "draft.json"
    release = ("--targets-key", str(folder / "release.key"))
    agent("bundle", "keys", "root", *holders, *release, "--out", str(draft))
    for name in _HOLDERS[:2]:
        agent("bundle", "keys", "sign", str(draft), "--key", str(folder / f"{name}.key"), *told)
    return draft.rename(root)


def build(folder: Path, *, recipe: str, sequence: int, images: Path | None) -> Path:
    """Build the bundle of ``recipe``; what was downloaded before is kept in ``work``."""
    root = ceremony(folder / "keys")
    out = folder / f"bundle-{sequence}"
    shutil.rmtree(out, ignore_errors=True)
    words = ["bundle", "build", "--recipe", recipe, "--out", str(out), "--sequence", str(sequence)]
    words += ["--root", str(root), "--targets-key", str(root.parent / "release.key")]
    words += ["--passphrase-file", str(root.parent / "passphrase")]
    words += ["--work", str(folder / "work")]
    if images is not None:
        words += ["--images", str(images)]
    agent(*words)
    return out


def stick(bundle: Path, root: Path, image: Path) -> Medium:
    """Write the bundle onto a FAT32 stick labelled BUNDLE."""
    shown = agent("bundle", "keys", "show", str(root))
    used = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    # Clusters, directories and the two tables take their share.
    fat(image, "BUNDLE", max(used * 11 // 10 // _MIB + 64, 512), sorted(bundle.iterdir()))
    done = subprocess.run(
        ["sha256sum", str(bundle / "verify_bundle.py")], capture_output=True, text=True, check=True
    )
    return Medium(image, str(shown["fingerprint"]), done.stdout.split()[0])


def fat(image: Path, label: str, mib: int, content: list[Path]) -> Path:
    """Make a FAT32 image with a partition-less file system, as sticks come; fill it."""
    image.unlink(missing_ok=True)
    subprocess.run(["truncate", "--size", f"{mib}M", str(image)], check=True)
    subprocess.run(["mkfs.vfat", "-F", "32", "-n", label, str(image)], check=True)
    if content:
        command = ["mcopy", "-s", "-m", "-i", str(image), *map(str, content), "::"]
        subprocess.run(command, check=True)
    return image
