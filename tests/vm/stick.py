"""The virtual USB stick: the agent with its packages, the playbooks, the declarations.

The quick form carries the agent as its installed packages, taken from this environment; the whole
form carries the signed bundle and installs from it.
"""

from __future__ import annotations

import compileall
import importlib.metadata
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AGENT = (
    "ansible-core", "ansible-runner", "click", "pydantic", "cryptography", "rfc8785", "pyyaml",
    "psutil", "prometheus-client", "segno", "tomli-w", "argon2-cffi", "jsonschema",
)  # fmt: skip
COLLECTIONS = ("ansible/posix", "community/general", "community/docker")
LABEL = "BUNDLE"
_OWN = ("appliance", "hardware", "playbooks", "security", "images")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def closure(names: tuple[str, ...]) -> list[importlib.metadata.Distribution]:
    """Return the distributions of ``names`` and of what they need, as installed here."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop().lower().replace("_", "-")
        if name in found:
            continue
        try:
            one = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another Python or system than this one
        found[name] = one
        for line in one.requires or []:
            match = _NAME.match(line)
            if match and "extra ==" not in line:
                waiting.append(match.group())
    return list(found.values())


def build(target: Path) -> Path:
    """Write the stick's image to ``target``; returns it."""
    tree = target.parent / "stick"
    shutil.rmtree(tree, ignore_errors=True)
    site = tree / "site"
    site.mkdir(parents=True)
    for one in closure(AGENT):
        for path in one.files or []:
            source = Path(str(one.locate_file(path)))
            if ".." not in path.parts and source.is_file() and path.suffix != ".pyc":
                place = site / str(path)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, place)
    content = tree / "content"
    leave = shutil.ignore_patterns("__pycache__", "*.pyc")
    for name in _OWN:
        shutil.copytree(ROOT / name, content / name, ignore=leave)
    packages = Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    for name in COLLECTIONS:
        source = packages / "ansible_collections" / name
        ignore = shutil.ignore_patterns("tests", "docs", "changelogs", "*.pyc", "__pycache__")
        shutil.copytree(source, content / "collections/ansible_collections" / name, ignore=ignore)
    (content / "debs").mkdir()
    # Compiled here: under emulation the first import of Ansible alone takes minutes.
    compileall.compile_dir(
        tree,
        quiet=2,
        workers=2,
        stripdir=str(tree),
        prependdir="/opt/appliance",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    return _image(tree, target)


def _image(tree: Path, target: Path) -> Path:
    target.unlink(missing_ok=True)
    subprocess.run(["truncate", "--size", "512M", str(target)], check=True)
    command = ["mke2fs", "-q", "-t", "ext4", "-L", LABEL, "-E", "root_owner=0:0", "-d", str(tree)]
    subprocess.run([*command, str(target)], check=True)
    return target
