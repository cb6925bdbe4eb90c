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

from tests.ceremony import hold

_MIB = 1 << 20


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


def build(folder: Path, recipe: str, images: Path | None) -> tuple[Path, Path]:
    """Build the bundle of ``recipe``; return it and its signed root.

    What was downloaded before is kept in ``work``.
    """
    out, secrets = folder / "bundle", folder / "keys"
    for old in (out, secrets):
        shutil.rmtree(old, ignore_errors=True)
    keys = hold(secrets, agent)
    words = ["bundle", "build", "--recipe", recipe, "--out", str(out), "--sequence", "1"]
    words += [*keys.arguments(), "--work", str(folder / "work")]
    if images is not None:
        words += ["--images", str(images)]
    agent(*words)
    return out, keys.root


def stick(bundle: Path, root: Path, image: Path, *, again: bool = False) -> Medium:
    """Write the bundle onto a FAT32 stick labelled BUNDLE, unless it is in use ``again``."""
    shown = agent("bundle", "keys", "show", str(root))
    used = sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    # Clusters, directories and the two tables take their share.
    mib = max(used * 11 // 10 // _MIB + 64, 512)
    fat(image, "BUNDLE", mib, sorted(bundle.iterdir()), again=again)
    done = subprocess.run(
        ["sha256sum", str(bundle / "verify_bundle.py")], capture_output=True, text=True, check=True
    )
    return Medium(image, str(shown["fingerprint"]), done.stdout.split()[0])


def fat(image: Path, label: str, mib: int, content: list[Path], *, again: bool = False) -> Path:
    """Make a FAT32 image with a partition-less file system, as sticks come; fill it."""
    if again:
        return image
    image.unlink(missing_ok=True)
    subprocess.run(["truncate", "--size", f"{mib}M", str(image)], check=True)
    subprocess.run(["mkfs.vfat", "-F", "32", "-n", label, str(image)], check=True)
    if content:
        command = ["mcopy", "-s", "-m", "-i", str(image), *map(str, content), "::"]
        subprocess.run(command, check=True)
    return image
