"""Wheels of a lock: only what an image needs, each proven by the lock's hash, then only read.

A wheel is a zip file; its files go into the image as they are. Nothing of it runs while building.
"""

from __future__ import annotations

import contextlib
import re
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from email.parser import HeaderParser
from pathlib import Path

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from appliance.bundle.images.recipe import Wheels
from appliance.bundle.images.tools import call
from appliance.bundle.images.tree import Node, Tree
from appliance.core.canonical import file_hash
from appliance.core.durable import os_errors, write_bytes
from appliance.core.errors import ArchiveRefusedError, BundleRecipeError, CollectFailedError

# glibc of Debian 12 is 2.36; older platforms are what most wheels name.
PLATFORMS = (
    *(f"manylinux_2_{n}_x86_64" for n in range(36, 4, -1)),
    *("manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64", "linux_x86_64"),
)
ENTRY = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^ ;\\]+)(?P<rest>(?:.*\\\n)*.*)$", re.MULTILINE
)
HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One entry of a lock that holds for the image's Python."""

    name: str
    version: str
    hashes: frozenset[str]


@dataclass(frozen=True)
class Wheel:
    """One proven wheel."""

    name: str
    version: str
    file: str
    sha256: str
    path: Path


def environment(python: str) -> dict[str, str]:
    """Return the marker environment of the image, whatever runs here."""
    return {
        **{key: str(value) for key, value in default_environment().items()},
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "python_version": python,
        "python_full_version": f"{python}.2",
        "implementation_version": f"{python}.2",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "extra": "",
    }


def read_lock(text: str, python: str) -> dict[str, Pin]:
    """Return the pins of a ``pip`` requirements file whose markers hold for ``python``."""
    pins: dict[str, Pin] = {}
    where = environment(python)
    for match in ENTRY.finditer(text):
        first = match["rest"].splitlines()[0].strip().rstrip("\\").strip()
        if first.startswith(";") and not Marker(first[1:].strip()).evaluate(where):
            continue
        name = canonicalize_name(match["name"])
        pins[name] = Pin(name, match["version"], frozenset(HASH.findall(match["rest"])))
    return pins


class WheelHouse:
    """A folder of proven wheels, filled by pip from its ordinary sources."""

    def __init__(self, cache: Path, locks: Path, python: str) -> None:
        """Keep wheels under ``cache``; locks lie in ``locks``."""
        self._folder = cache / "wheels"
        self._locks = locks
        self._python = python
        self._folder.mkdir(parents=True, exist_ok=True)

    def collect(self, wanted: Wheels) -> list[Wheel]:
        """Return the wheels of ``wanted``: the roots and what they require, by name."""
        path = self._locks / wanted.lock
        with os_errors(path):
            pins = read_lock(path.read_text(encoding="utf-8"), self._python)
        left_out = {canonicalize_name(n) for n in wanted.not_needed}
        alone = {canonicalize_name(n) for n in wanted.no_dependencies}
        found: dict[str, Wheel] = {}
        ahead: set[str] = {canonicalize_name(n) for n in wanted.roots}
        while ahead:
            unknown = sorted(ahead - pins.keys())
            if unknown:
                raise BundleRecipeError(
                    expected=f"{', '.join(unknown)} in {wanted.lock}", found="no such entry"
                )
            fetched = self._get([pins[name] for name in sorted(ahead)], wanted.prefer)
            found.update({w.name: w for w in fetched})
            needs = {n for w in fetched if w.name not in alone for n in self._requires(w)}
            ahead = needs - found.keys() - left_out
        return [found[name] for name in sorted(found)]

    def _requires(self, wheel: Wheel) -> Iterator[str]:
        where = environment(self._python)
        with zipfile.ZipFile(wheel.path) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            head = HeaderParser().parsestr(archive.read(name).decode("utf-8"))
        for line in head.get_all("Requires-Dist") or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate(where):
                yield canonicalize_name(requirement.name)
                # A requirement on an extra of another package stands in the lock by itself.

    def _get(self, pins: Sequence[Pin], prefer: Mapping[str, str]) -> list[Wheel]:
        missing = [pin for pin in pins if self._kept(pin) is None]
        for pin in [pin for pin in missing if pin.name in prefer]:
            # Not every index offers the local build; the plain one does the same, only larger.
            with contextlib.suppress(CollectFailedError):
                self._download([replace(pin, version=f"{pin.version}+{prefer[pin.name]}")])
        missing = [pin for pin in missing if self._kept(pin) is None]
        if missing:
            self._download(missing)
        wheels = [(pin, self._kept(pin)) for pin in pins]
        for pin, wheel in wheels:
            if wheel is None:
                raise CollectFailedError(
                    expected=f"a wheel of {pin.name} {pin.version}", found="none was fetched"
                )
        return [wheel for _, wheel in wheels if wheel is not None]

    def _kept(self, pin: Pin) -> Wheel | None:
        stem = re.escape(pin.name).replace(r"\-", "[-_.]")
        form = re.compile(rf"{stem}-{re.escape(pin.version)}(\+[a-z0-9.]+)?-", re.IGNORECASE)
        for path in sorted(self._folder.glob("*.whl")):
            if form.match(path.name) and (digest := file_hash(path)) in pin.hashes:
                return Wheel(pin.name, path.name.split("-")[1], path.name, digest, path)
        return None

    def _download(self, pins: Sequence[Pin]) -> None:
        with tempfile.TemporaryDirectory(prefix="appliance-wheels-") as folder:
            lines = [
                " ".join(
                    [f"{p.name}=={p.version}", *(f"--hash=sha256:{h}" for h in sorted(p.hashes))]
                )
                for p in pins
            ]
            names = Path(folder, "names.txt")
            names.write_text("\n".join(lines) + "\n", encoding="utf-8")
            out = Path(folder, "out")
            call(
                [
                    *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", out),
                    *("--require-hashes", "--only-binary", ":all:", "-r", names),
                    *("--python-version", self._python, "--implementation", "cp"),
                    *(part for p in PLATFORMS for part in ("--platform", p)),
                ],
                what=f"{len(pins)} wheels by hash ({', '.join(p.name for p in pins[:5])} ...)",
            )
            for path in out.glob("*.whl"):
                write_bytes(self._folder / path.name, path.read_bytes(), mode=0o644)


def files_of(path: Path, site: str, leave_out: Sequence[str] = ()) -> Tree:
    """Return a wheel's files under ``site``; scripts, headers and ``leave_out`` stay out.

    A ``.pth`` file runs code at every start of Python; one stole credentials in litellm 1.82.8.
    """
    tree = Tree()
    archive = zipfile.ZipFile(path)
    for info in archive.infolist():
        where = _place(info.filename, site)
        if info.is_dir() or where is None or where in leave_out:
            continue
        if where.endswith(".pth") or ".." in where.split("/"):
            raise ArchiveRefusedError(
                expected="a wheel of modules only", found=f"{info.filename} in {path.name}"
            )
        mode = 0o755 if (info.external_attr >> 16) & 0o111 else 0o644
        tree.put(where, Node("file", mode, _reader(archive, info)))
    return tree


def _reader(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], bytes]:
    return lambda: archive.read(info)


def _place(name: str, site: str) -> str | None:
    first, _, rest = name.partition("/")
    if not first.endswith(".data"):
        return f"{site}/{name}"
    scheme, _, inner = rest.partition("/")
    if scheme in {"purelib", "platlib"}:
        return f"{site}/{inner}"
    return f"usr/local/{inner}" if scheme == "data" else None
