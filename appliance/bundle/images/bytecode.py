"""Compiled modules for a read-only root, made by the image's own Python.

Without them every start compiles anew what cannot be written back. They carry the hash of the
source instead of its time, and are never checked against it (PEP 552), so they are the same
in every build.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from appliance.bundle.images.tools import call, require
from appliance.bundle.images.tree import Node, Tree

# Runs inside: argv is the Python version's tag. Sources that do not compile are templates.
SCRIPT = """
import importlib.util, marshal, os, sys
for folder, folders, names in os.walk("/in"):
    folders.sort()
    for name in sorted(names):
        path = os.path.join(folder, name)
        with open(path, "rb") as stream:
            source = stream.read()
        try:
            code = compile(source, path[3:], "exec", dont_inherit=True, optimize=0)
        except (SyntaxError, ValueError):
            continue
        target = "/out" + os.path.dirname(path)[3:] + "/__pycache__/"
        os.makedirs(target, exist_ok=True)
        head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little")
        with open(target + name[:-3] + "." + sys.implementation.cache_tag + ".pyc", "wb") as out:
            out.write(head + importlib.util.source_hash(source) + marshal.dumps(code))
"""
SKIPPED = ("usr/share/",)


def compiled(tree: Tree, system: Tree, python: str) -> Tree:
    """Return the ``.pyc`` files of ``tree``'s modules, made inside ``system``."""
    require("unshare", "chroot")
    sources = {
        path: node
        for path, node in tree.nodes.items()
        if node.kind == "file" and path.endswith(".py") and not path.startswith(SKIPPED)
    }
    with tempfile.TemporaryDirectory(prefix="appliance-compile-") as name:
        root = Path(name)
        for path, node in sorted(system.nodes.items()):
            if path.startswith(("usr/lib", "lib", "usr/bin", "bin", "etc")):
                _materialise(root / path, node)
        for path, node in sources.items():
            target = root / "in" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(node.data())
        (root / "out").mkdir()
        # A name space of its own: no network, and root only inside when this is not root.
        alone = ["unshare", "--net"]
        if os.geteuid() != 0:
            alone += ["--user", "--map-root-user"]
        call(
            [*alone, "chroot", root, f"/usr/bin/python{python}", "-I", "-S", "-c", SCRIPT],
            what="modules compiled by the image's Python",
            environment={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONHASHSEED": "0"},
        )
        done = Tree()
        for made in sorted((root / "out").rglob("*.pyc")):
            done.file(made.relative_to(root / "out").as_posix(), made.read_bytes())
    return done


def _materialise(path: Path, node: Node) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if node.kind == "dir":
        path.mkdir(exist_ok=True)
    elif node.kind == "link":
        path.symlink_to(node.target)
    else:
        path.write_bytes(node.data())
        path.chmod(node.mode)
