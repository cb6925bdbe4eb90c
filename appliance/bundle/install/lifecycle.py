"""What runs from a proven, staged version: activation, migrations, health checks."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol

from appliance.bundle.archives import unpack
from appliance.bundle.install.store import Version
from appliance.bundle.model import Step
from appliance.bundle.paths import safe_path
from appliance.core.durable import fsync_dir, os_errors
from appliance.core.errors import ActivationFailedError, ToolMissingError
from appliance.core.home import Home
from appliance.core.settings.bundle import BundleSettings

_SQLITE = b"SQLite format 3\0"


class Runner(Protocol):
    """Runs a program of a proven version."""

    def run(self, argv: Sequence[str], cwd: Path, log: Path, timeout: float) -> int:
        """Return the exit status; the program's words go to ``log``; 124 is a timeout."""
        ...


class ProcessRunner:
    """Runs programs with a clean environment: no proxies, no indexes, no user's settings."""

    TIMED_OUT = 124

    def __init__(self, home: Home) -> None:
        """Give programs ``APPLIANCE_HOME`` of ``home``."""
        self.home = home

    def run(self, argv: Sequence[str], cwd: Path, log: Path, timeout: float) -> int:
        """Run ``argv`` without a shell."""
        environment = {
            "PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            "HOME": str(cwd),
            "LANG": "C.UTF-8",
            "APPLIANCE_HOME": str(self.home.root),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        log.parent.mkdir(parents=True, exist_ok=True)
        with os_errors(log), log.open("ab") as out:
            try:
                done = subprocess.run(
                    list(argv),
                    cwd=cwd,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    timeout=timeout,
                    env=environment,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return self.TIMED_OUT
            except FileNotFoundError as error:
                raise ToolMissingError(expected=argv[0], found="no such program") from error
        return done.returncode


@contextmanager
def programs_readable() -> Iterator[None]:
    """Programs belong to root and are read by the services' own user, whatever root's umask is."""
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


class Lifecycle:
    """The steps a manifest names, for one version."""

    def __init__(
        self, home: Home, version: Version, log: Path, runner: Runner, limits: BundleSettings
    ) -> None:
        """Write what the programs say to ``log``."""
        self.home, self.version, self.log = home, version, log
        self.runner, self.limits = runner, limits
        self.manifest = version.manifest()

    def activate(self) -> None:
        """Run every activation step afresh; raise :class:`ActivationFailedError`."""
        shutil.rmtree(self.version.activated, ignore_errors=True)
        with os_errors(self.version.activated):
            self.version.activated.mkdir(mode=0o755)
        for number, step in enumerate(self.manifest.lifecycle.activate):
            self._step(number, step)
        # What pip and tar wrote is in the page cache only: after a power cut a version called ready
        # was seen full of empty files.
        os.sync()

    def _step(self, number: int, step: Step) -> None:
        if step.kind == "unpack":
            source = self.version.content / safe_path(step.archive)
            unpack(source, self.version.activated / safe_path(step.into), self.limits)
            return
        for argv in self._commands(step):
            status = self._run(argv, self.limits.activation_timeout_s)
            if status:
                raise ActivationFailedError(
                    expected=f"activation step {number} ({step.kind}) to end well",
                    found=f"{self._ended(status)}; its words are in {self.log}",
                )

    def _commands(self, step: Step) -> list[tuple[str, ...]]:
        if step.kind == "venv":
            return self._venv(step)
        if step.kind == "images":
            return self._images(step)
        return [step.argv]

    def _images(self, step: Step) -> list[tuple[str, ...]]:
        python = str(self.version.activated / safe_path(step.into) / "bin" / "python")
        load = (python, "-m", "appliance.bundle.images", "load")
        listed = [c.path for c in self.manifest.contents if c.kind == "image"]
        return [(*load, str(self.version.content / safe_path(path))) for path in listed]

    def _venv(self, step: Step) -> list[tuple[str, ...]]:
        folder = str(self.version.activated / safe_path(step.into))
        wheels = str(self.version.content / "wheels")
        install = (f"{folder}/bin/python", "-m", "pip", "install", "--no-index", "--no-cache-dir")
        every = sorted(str(p) for p in (self.version.content / "wheels").glob("*.whl"))
        wanted = list(step.packages) or ["--no-deps", *every]
        return [
            (sys.executable if not step.argv else step.argv[0], "-m", "venv", folder),
            (*install, "--find-links", wheels, *wanted),
        ]

    def _run(self, argv: Sequence[str], timeout: float) -> int:
        places = {"{version}": str(self.version.folder), "{home}": str(self.home.root)}
        filled = []
        for word in argv:
            for place, value in places.items():
                word = word.replace(place, value)  # noqa: PLW2901 - filled in step by step
            filled.append(word)
        return self.runner.run(filled, self.version.folder, self.log, timeout)

    def migrate(self) -> None:
        """Run the migrations; the state they change was copied before."""
        self._all(self.manifest.lifecycle.migrate, "migration")

    def unmigrate(self) -> None:
        """Run the way back of the migrations, for a rollback days later."""
        self._all(self.manifest.lifecycle.unmigrate, "way back of the migration")

    def _all(self, commands: Sequence[Sequence[str]], what: str) -> None:
        for argv in commands:
            status = self._run(argv, self.limits.activation_timeout_s)
            if status:
                raise ActivationFailedError(
                    expected=f"the {what} to end well",
                    found=f"{self._ended(status)}; its words are in {self.log}",
                )

    def _ended(self, status: int) -> str:
        if status == ProcessRunner.TIMED_OUT:
            limit = self.limits.activation_timeout_s
            return f"not done within bundle.activation_timeout_s ({limit:g} s)"
        return f"exit status {status}"

    def healthy(self) -> tuple[bool, str]:
        """Run the health checks; return whether all ended with 0, and which did not."""
        for argv in self.manifest.lifecycle.health:
            status = self._run(argv, self.limits.health_timeout_s)
            name = f"{Path(argv[0]).name} {' '.join(argv[1:2])}"
            if status == ProcessRunner.TIMED_OUT:
                limit = f"bundle.health_timeout_s ({self.limits.health_timeout_s:g} s)"
                return False, f"{name} was not done within {limit}"
            if status:
                return False, f"{name} ended with {status}"
        return True, f"{len(self.manifest.lifecycle.health)} checks passed"


def copy_state(home: Home, patterns: Sequence[str], target: Path) -> int:
    """Copy the state that migrations will change; SQLite files through their own backup call."""
    shutil.rmtree(target, ignore_errors=True)
    files = 0
    with os_errors(target):
        target.mkdir(parents=True, mode=0o700)
        for pattern in patterns:
            for path in sorted(home.root.glob(safe_pattern(pattern))):
                if path.is_file() and not path.is_symlink():
                    copy = target / path.relative_to(home.root)
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    _copy(path, copy)
                    files += 1
        for folder in [target, *(p for p in target.rglob("*") if p.is_dir())]:
            fsync_dir(folder)
    return files


def safe_pattern(pattern: str) -> str:
    """Return a glob below the home, or refuse it."""
    safe_path(pattern.replace("*", "x"))
    return pattern


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as stream:
        sqlite = stream.read(len(_SQLITE)) == _SQLITE
    if sqlite:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(target)) as new,
        ):
            old.backup(new)
    else:
        shutil.copyfile(source, target)
    with target.open("rb") as stream:
        os.fsync(stream.fileno())


def restore_state(home: Home, saved: Path) -> int:
    """Put the copies back, each in one rename; safe to run again after a power cut."""
    files = 0
    for copy in sorted(p for p in saved.rglob("*") if p.is_file()) if saved.is_dir() else []:
        target = home.root / copy.relative_to(saved)
        temp = target.with_name(f".{target.name}.restore")
        with os_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(copy, temp)
            with temp.open("rb") as stream:
                os.fsync(stream.fileno())
            for extra in ("-wal", "-shm", "-journal"):
                target.with_name(target.name + extra).unlink(missing_ok=True)
            temp.replace(target)
            fsync_dir(target.parent)
        files += 1
    return files
