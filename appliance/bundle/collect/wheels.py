"""Wheels from hash locks: never an sdist on the medium, because pip would build it there."""

from __future__ import annotations

import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from packaging.markers import Marker

from appliance.bundle.collect.common import Collected, Shell
from appliance.bundle.collect.licences import wheel_metadata
from appliance.bundle.images.llama import NAME as LLAMA
from appliance.bundle.images.llama import LlamaBuilder
from appliance.bundle.images.recipe import load_defaults
from appliance.bundle.images.wheels import PLATFORMS, WheelHouse, environment
from appliance.bundle.model import Content
from appliance.bundle.recipe import Wheels
from appliance.core.canonical import sha256_hex
from appliance.core.durable import os_errors, write_bytes
from appliance.core.errors import BundleRecipeError, CollectFailedError


@dataclass(frozen=True)
class Where:
    """Where a build reads and writes, and the archive a compiler for the target comes from."""

    inputs: Path
    work: Path
    cache: Path
    suite: str | None = None
    mirrors: tuple[str, ...] = ()


def split_lock(text: str) -> dict[str, str]:
    """Return {name: requirement with its hashes} of a lock; a line without a hash is refused."""
    found: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", text)):
        if not block.strip():
            continue
        if "--hash=sha256:" not in block:
            raise BundleRecipeError(
                expected="a lock in which every requirement has a hash",
                found=block.strip().splitlines()[0][:80],
            )
        head = block.splitlines()[0]
        name = re.split(r"[ ;=<>\[@]", head, maxsplit=1)[0].lower().replace("_", "-")
        # The same package may stand twice with different markers.
        marker = head.partition(";")[2].strip(" \\")
        key = f"{name} {marker}".strip()
        found[key] = block.rstrip()
    return found


def for_target(locked: dict[str, str], python: str) -> dict[str, str]:
    """Return {name: requirement} of the entries whose markers hold on the target.

    Judged here, because pip judges the markers of a requirements file by the Python it runs on,
    even when it is told to fetch for another one (pip #11664).
    """
    where, found = environment(python), dict[str, str]()
    for key, block in locked.items():
        head, newline, hashes = block.partition("\n")
        requirement, _, marker = head.partition(";")
        if marker and not Marker(marker.strip(" \\")).evaluate(where):
            continue
        plain = f"{requirement.strip()} \\" if marker else head
        found[key.split()[0]] = plain + newline + hashes
    return found


def collect_wheels(wheels: Wheels, plan: Where, shell: Shell) -> list[Collected]:
    """Download the locked wheels for the target's Python and build the named sdists."""
    folder = plan.work / f"wheels-{wheels.python}"
    with os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        texts = [(plan.inputs / lock).read_text(encoding="utf-8") for lock in wheels.locks]
    locked: dict[str, str] = {}
    for text in texts:
        locked |= for_target(split_lock(text), wheels.python)
    if wheels.only:
        wanted = {n.lower() for n in wheels.only}
        locked = {k: v for k, v in locked.items() if k in wanted}
    ready = {k: v for k, v in locked.items() if k not in wheels.build}
    paths = _download(wheels, ready, folder, shell)
    paths += [_build(name, wheels, plan) for name in wheels.build if name in locked]
    return [wheel_entry(p) for p in sorted(set(paths))]


def _download(wheels: Wheels, locked: dict[str, str], folder: Path, shell: Shell) -> list[Path]:
    """Let pip choose by the tags of the *target*, refuse sdists, check the hashes."""
    if not locked:
        return []
    text = "\n".join(locked[k] for k in sorted(locked)) + "\n"
    # One folder a lock: what an earlier lock left cannot slip in, the same lock is incremental.
    dest = folder / sha256_hex(text.encode())[:16]
    lock = folder / "download.lock"
    write_bytes(lock, text.encode())
    target = ["--python-version", wheels.python, "--implementation", "cp"]
    for platform in PLATFORMS:
        target += ["--platform", platform]
    with os_errors(dest):
        dest.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    argv += ["--only-binary", ":all:", *target, "--dest", str(dest), "-r", str(lock)]
    shell.run(argv, folder, {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    return sorted(dest.glob("*.whl"))


def _build(name: str, wheels: Wheels, plan: Where) -> Path:
    """Compile one locked sdist in a root of the target release, without a network.

    The same parts go into the inference image: compiled once, and never for the processor of the
    build machine, whose instructions the target may lack.
    """
    if name != LLAMA or plan.suite is None:
        raise BundleRecipeError(
            expected=f"{LLAMA} as the only part to compile, and a package archive to do it with",
            found=name if plan.suite else f"{name} in a recipe without apt sources",
        )
    images = plan.inputs / "images"
    defaults = load_defaults(images)
    defaults = defaults.model_copy(
        update={"suite": plan.suite, "mirrors": list(plan.mirrors), "python": wheels.python}
    )
    house = WheelHouse(plan.cache, images / "locks", wheels.python)
    builder = LlamaBuilder(images, plan.cache, house, defaults, defaults.source_date_epoch)
    return builder.get().wheel


def wheel_entry(path: Path, *, agent: bool = False) -> Collected:
    """Describe one wheel."""
    name, version, licence = wheel_metadata(path)
    pypi = re.sub(r"[-_.]+", "-", name).lower()
    content = Content(
        path=f"wheels/{path.name}",
        kind="agent" if agent else "wheel",
        name=name,
        version=version,
        purl=f"pkg:pypi/{pypi}@{version}".replace("+", "%2B"),
        licence=licence,
    )
    return Collected(content, path)


_PROJECT_FOLDERS = ("appliance", "hardware")  # hardware: data beside the package, ADR 0050
_PROJECT_FILES = ("pyproject.toml", "README.md", "LICENSE")


def agent_wheel(root: Path, work: Path, shell: Shell) -> Collected:
    """Build the agent's own wheel from a fresh copy of the project at ``root``.

    A copy, because setuptools keeps a ``build`` folder whose stale files would come along.
    """
    source, dest = work / "agent-source", work / "agent"
    with os_errors(root):
        for folder in (source, dest):
            shutil.rmtree(folder, ignore_errors=True)
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        for name in _PROJECT_FOLDERS:
            shutil.copytree(root / name, source / name, ignore=ignored)
        for name in _PROJECT_FILES:
            if (root / name).is_file():
                shutil.copyfile(root / name, source / name)
    argv = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    shell.run(
        [*argv, "--wheel-dir", str(dest), str(source)],
        work,
        {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "SOURCE_DATE_EPOCH": "1577836800"},
    )
    made = list(dest.glob("*.whl"))
    if len(made) != 1:
        raise CollectFailedError(expected="one agent wheel", found=f"{len(made)} wheels")
    return wheel_entry(made[0], agent=True)
