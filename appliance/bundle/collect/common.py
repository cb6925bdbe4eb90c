"""What every collector returns, and how collectors run programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from appliance.bundle.model import Content
from appliance.core.durable import os_errors
from appliance.core.errors import CollectFailedError, ToolMissingError

TAIL = 400


@dataclass(frozen=True)
class Collected:
    """A file for the medium and what it is."""

    content: Content
    source: Path | bytes
    inside: tuple[Content, ...] = ()


class Shell(Protocol):
    """Runs a program of the build machine."""

    def run(self, argv: Sequence[str], cwd: Path, environment: dict[str, str]) -> str:
        """Return its standard output; raise :class:`CollectFailedError` when it fails."""
        ...


class BuildShell:
    """Runs programs for a build and keeps their words in one log."""

    def __init__(self, log: Path) -> None:
        """Append to ``log``."""
        self.log = log

    def run(self, argv: Sequence[str], cwd: Path, environment: dict[str, str]) -> str:
        """Run ``argv`` without a shell."""
        if shutil.which(argv[0]) is None:
            raise ToolMissingError(expected=argv[0], found="no such program on this machine")
        with os_errors(self.log):
            self.log.parent.mkdir(parents=True, exist_ok=True)
            done = subprocess.run(
                list(argv),
                cwd=cwd,
                env=os.environ | environment | {"LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            with self.log.open("a", encoding="utf-8") as stream:
                stream.write(f"$ {' '.join(argv)}\n{done.stdout}{done.stderr}\n")
        if done.returncode:
            # Both: apt names the missing package on standard output only.
            words = " ".join(f"{done.stdout}{done.stderr}"[-TAIL:].split())
            raise CollectFailedError(
                expected=f"{argv[0]} to end well",
                found=f"exit status {done.returncode}: {words}; {self.log}",
            )
        return done.stdout
