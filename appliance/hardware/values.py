"""Strict reading of small values: what does not look exactly right is not known."""

from __future__ import annotations

import re
from typing import Any


def integer(value: Any) -> int | None:
    """Return a whole number, or None for anything else (``"1,024"``, ``"N/A"``, True)."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,19}", value.strip()):
        return int(value)
    return None


def decimal(value: Any) -> float | None:
    """Return a number written with a point; a comma is another locale, so not known."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,15}(\.\d{1,9})?", value.strip()):
        return float(value)
    return None


def flag(value: Any, yes: str, no: str) -> bool | None:
    """Return True or False for the two words a tool prints, None for anything else."""
    if not isinstance(value, str):
        return None
    return {yes: True, no: False}.get(value.strip())


def mapping(value: Any) -> dict[str, Any]:
    """Return ``value`` if it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def version(text: str | None) -> tuple[int, ...] | None:
    """Return ``570.124.06`` as (570, 124, 6), None when it is not a version."""
    match = re.match(r"\d+(?:\.\d+)*", text or "")
    return tuple(int(part) for part in match.group(0).split(".")) if match else None
