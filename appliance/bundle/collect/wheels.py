"""Wheels from hash locks: never an sdist on the medium, because pip would build it there."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from appliance.bundle.collect.common import Collected, Shell
from appliance.bundle.collect.licences import wheel_metadata
from appliance.bundle.model import Content
from appliance.bundle.recipe import Wheels
from appliance.core.canonical import sha256_hex
from appliance.core.durable import os_errors, write_bytes
from appliance.core.errors import BundleRecipeError, CollectFailedError


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


def collect_wheels(wheels: Wheels, root: Path, work: Path, shell: Shell) -> list[Collected]:
    """Download the locked wheels for the target's Python and build the named sdists."""
    folder = work / f"wheels-{wheels.python}"
    with os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        texts = [(root / lock).read_text(encoding="utf-8") for lock in wheels.locks]
    locked: dict[str, str] = {}
    for text in texts:
        locked |= split_lock(text)
    if wheels.only:
        wanted = {n.lower() for n in wheels.only}
        locked = {k: v for k, v in locked.items() if k.split()[0] in wanted}
    source = {k: v for k, v in locked.items() if k.split()[0] in wheels.build}
    ready = {k: v for k, v in locked.items() if k not in source}
    paths = _download(wheels, ready, folder, shell)
    for key, requirement in sorted(source.items()):
        paths.append(_build(key, requirement, wheels, folder, shell))
    return [wheel_entry(p) for p in sorted(set(paths))]


def _download(wheels: Wheels, locked: dict[str, str], folder: Path, shell: Shell) -> list[Path]:
    """Let pip resolve markers and tags for the *target*, refuse sdists, check the hashes."""
    if not locked:
        return []
    text = "\n".join(locked[k] for k in sorted(locked)) + "\n"
    # One folder a lock: what an earlier lock left cannot slip in, the same lock is incremental.
    dest = folder / sha256_hex(text.encode())[:16]
    lock = folder / "download.lock"
    write_bytes(lock, text.encode())
    target = []
    if wheels.python != ".".join(map(str, sys.version_info[:2])):
        target = ["--python-version", wheels.python, "--implementation", "cp"]
        for platform in wheels.platforms:
            target += ["--platform", platform]
    with os_errors(dest):
        dest.mkdir(exist_ok=True)
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
    argv += ["--only-binary", ":all:", *target, "--dest", str(dest), "-r", str(lock)]
    shell.run(argv, folder, {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
    return sorted(dest.glob("*.whl"))


def _build(key: str, requirement: str, wheels: Wheels, folder: Path, shell: Shell) -> Path:
    """Build one locked sdist into a wheel, here and now, for this Python only."""
    if wheels.python != ".".join(map(str, sys.version_info[:2])):
        raise CollectFailedError(
            expected=f"Python {wheels.python} to build {key}",
            found=f"Python {sys.version_info[0]}.{sys.version_info[1]}",
            remedy="Build this bundle on a machine, or in a container, of the target release.",
        )
    dest = folder / f"built-{sha256_hex(requirement.encode())[:16]}"
    made = sorted(dest.glob("*.whl")) if dest.is_dir() else []
    if not made:
        lock = folder / "build.lock"
        write_bytes(lock, requirement.encode() + b"\n")
        argv = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--require-hashes"]
        argv += ["--no-binary", ":all:", "--wheel-dir", str(dest), "-r", str(lock)]
        shell.run(argv, folder, {"PIP_DISABLE_PIP_VERSION_CHECK": "1"})
        made = sorted(dest.glob("*.whl"))
    if len(made) != 1:
        raise CollectFailedError(expected=f"one wheel of {key}", found=f"{len(made)} wheels")
    return made[0]


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
        shutil.copytree(root / "appliance", source / "appliance", ignore=ignored)
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
