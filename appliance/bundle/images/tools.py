"""Running the few programs an image is made with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from appliance.core.errors import CollectFailedError, ToolMissingError

LAST_LINES = 8


def require(*programs: str) -> None:
    """Raise :class:`ToolMissingError` unless every program is on PATH."""
    missing = [p for p in programs if shutil.which(p) is None]
    if missing:
        raise ToolMissingError(
            expected=", ".join(programs),
            found=f"no {', '.join(missing)} on PATH",
            remedy="On Debian or Ubuntu: sudo apt-get install mmdebstrap debian-archive-keyring "
            "util-linux.",
        )


def call(
    command: Sequence[str | Path], *, what: str, environment: Mapping[str, str] | None = None
) -> bytes:
    """Run ``command`` and return what it prints; its last words go into the error."""
    done = subprocess.run(
        [str(part) for part in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=None if environment is None else dict(environment),
        check=False,
    )
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()[-LAST_LINES:]
        raise CollectFailedError(
            expected=what, found=f"{command[0]} ended with {done.returncode}: {' / '.join(words)}"
        )
    return done.stdout
