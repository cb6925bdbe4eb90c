"""Debian packages: resolved and fetched by mmdebstrap (apt checks signatures), then only read.

No maintainer script runs: a package's files are taken from its archive, so nothing depends on the
machine that builds, and no root is needed.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from appliance.bundle.images.recipe import Defaults
from appliance.bundle.images.tools import call, require
from appliance.bundle.images.tree import Node, Tree, from_tar
from appliance.core.canonical import file_hash, value_hash
from appliance.core.durable import read_json, write_bytes, write_json
from appliance.core.errors import CollectFailedError

ARCHIVES = "/var/cache/apt/archives"
# Documentation and translations. Copyright files stay: the licences ask for it.
NOT_TAKEN = (
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/doc-base",
    "usr/share/menu",
    "usr/share/perl5",
    "etc/init.d",
    "etc/default",
    "etc/cron.d",
    "etc/logrotate.d",
    "usr/lib/systemd",
)


@dataclass(frozen=True)
class Deb:
    """One fetched package."""

    name: str
    version: str
    architecture: str
    source: str
    file: str
    sha256: str


class Packages:
    """A folder of fetched packages and the closures that were resolved.

    A closure is resolved once for a set of names; ``fresh`` asks the mirror again.
    """

    def __init__(self, cache: Path, defaults: Defaults, *, fresh: bool = False) -> None:
        """Keep packages under ``cache``."""
        self._pool = cache / "debs"
        self._closures = cache / "closures"
        self._defaults = defaults
        self._fresh = fresh
        self._seen: set[str] = set()
        self._pool.mkdir(parents=True, exist_ok=True)

    def closure(self, names: Sequence[str]) -> list[Deb]:
        """Return the packages ``names`` need, themselves included, by name."""
        key = value_hash([sorted(names), self._defaults.suite, self._defaults.mirrors])
        path = self._closures / f"{key}.json"
        if path.is_file() and (not self._fresh or key in self._seen):
            debs = [Deb(**entry) for entry in read_json(path)]
            if all(self._has(deb) for deb in debs):
                return debs
        debs = self._fetch(names)
        self._seen.add(key)
        write_json(path, [asdict(deb) for deb in debs])
        return debs

    def _has(self, deb: Deb) -> bool:
        path = self._pool / deb.file
        return path.is_file() and file_hash(path) == deb.sha256

    def _fetch(self, names: Sequence[str]) -> list[Deb]:
        require("mmdebstrap", "dpkg-deb", "apt-get")
        with tempfile.TemporaryDirectory(prefix="appliance-debs-") as folder:
            out = Path(folder, "archives")
            out.mkdir()
            call(
                [
                    *("mmdebstrap", "--quiet", "--variant=extract", "--format=null"),
                    f"--include={','.join(sorted(names))}",
                    '--aptopt=Acquire::Languages "none"',
                    '--aptopt=Apt::Install-Recommends "false"',
                    "--skip=cleanup/apt",
                    f"--extract-hook=sync-out {ARCHIVES} {out}",
                    *(self._defaults.suite, "/dev/null", *self._defaults.mirrors),
                ],
                what=f"packages {', '.join(sorted(names))} from {self._defaults.suite}",
            )
            debs = [describe(path) for path in sorted(out.glob("*.deb"))]
            if not debs:
                raise CollectFailedError(expected=f"packages {', '.join(names)}", found="none")
            for deb in debs:
                write_bytes(self._pool / deb.file, (out / deb.file).read_bytes(), mode=0o644)
        return sorted(debs, key=lambda d: d.name)

    def tree(self, debs: Sequence[Deb]) -> Tree:
        """Return the files of ``debs``, without documentation."""
        tree = Tree()
        for deb in sorted(debs, key=lambda d: d.name):
            path = self._pool / deb.file
            if not self._has(deb):
                raise CollectFailedError(expected=f"{deb.file} as resolved", found="other bytes")
            tree.add(files_of(path))
        tree.drop(NOT_TAKEN)
        keep = {
            path: node
            for path, node in tree.nodes.items()
            if not path.startswith("usr/share/doc/") or path.endswith("/copyright")
        }
        return Tree({p: n for p, n in keep.items() if n.kind != "dir" or _holds(p, keep)})


def _holds(folder: str, nodes: dict[str, Node]) -> bool:
    """Say whether a documentation folder still has something in it (others always stay)."""
    if not folder.startswith("usr/share/doc/"):
        return True
    return any(path.startswith(f"{folder}/") for path in nodes)


def describe(path: Path) -> Deb:
    """Read a package's name, version, architecture and source."""
    form = "\\n".join(f"${{{field}}}" for field in ("Package", "Version", "Architecture", "Source"))
    words = call(["dpkg-deb", f"--showformat={form}", "--show", path], what="a Debian package")
    name, version, architecture, source = words.decode("utf-8").split("\n")[:4]
    return Deb(name, version, architecture, source or name, path.name, file_hash(path))


def files_of(path: Path) -> Tree:
    """Return the files of one package."""
    with subprocess.Popen(
        ["dpkg-deb", "--fsys-tarfile", path],  # noqa: S607 - require() found it on PATH
        stdout=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        tree = from_tar(child.stdout)
        child.stdout.read()
    if child.returncode != 0:
        raise CollectFailedError(expected=f"a Debian package at {path.name}", found="damaged")
    return tree
