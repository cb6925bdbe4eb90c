"""Which paths a bundle may use: relative, plain, the same on every file system."""

from __future__ import annotations

import re

from appliance.core.errors import BundleFormatError

MAX_PATH = 240
MAX_PART = 200
# FAT32 and exFAT refuse these; control characters and backslash hide things from people.
_PART = re.compile(r"[A-Za-z0-9._+@=,~!-][A-Za-z0-9 ._+@=,~!-]*")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul"] + [f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10)]
)


def why_refused(path: str) -> str | None:
    """Return why ``path`` must not be used, or None when it is plain."""
    if not path or len(path) > MAX_PATH:
        return f"the path has {len(path)} characters, 1 to {MAX_PATH} are allowed"
    if path.startswith("/") or "\\" in path or "\0" in path:
        return "the path is absolute or has a backslash or a zero byte"
    for part in path.split("/"):
        if part in {"", ".", ".."}:
            return "the path has an empty, '.' or '..' part"
        if len(part) > MAX_PART or not _PART.fullmatch(part) or part.endswith((" ", ".")):
            return "a part of the path has characters that some file systems refuse"
        if part.split(".")[0].lower() in _DEVICES:
            return "a part of the path is a device name"
    return None


def safe_path(path: str) -> str:
    """Return ``path`` or raise :class:`BundleFormatError` (CWE-22, path traversal)."""
    reason = why_refused(path)
    if reason is not None:
        raise BundleFormatError(
            expected="plain relative paths in the bundle",
            found=f"{reason}: {path[:80]!a}",
        )
    return path


def collisions(paths: list[str]) -> list[str]:
    """Return the paths that are one file on a file system that ignores case, or file and folder."""
    seen: set[str] = set()
    folders: set[str] = set()
    clash: list[str] = []
    for path in sorted(paths):
        low = path.lower()
        parents = {low[:i] for i, c in enumerate(low) if c == "/"}
        if low in seen or low in folders or parents & seen:
            clash.append(path)
        seen.add(low)
        folders |= parents
    return clash
