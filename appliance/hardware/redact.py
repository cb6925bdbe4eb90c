"""Take out of readings what names one machine: serial numbers, MACs, host names, UUIDs.

Fields are chosen by name first; then whatever still looks like such a value is replaced.
"""

from __future__ import annotations

import json
import re
from typing import Any

MARK = "[redacted]"
_KEYS = re.compile(
    r"serial|uuid|wwn|\bmac\b|address|hostname|host_name|asset|eui64|nguid|guid", re.IGNORECASE
)
_PATTERNS = (
    re.compile(r"\b(?:[0-9a-fA-F]{2}[:-]){5}[0-9a-fA-F]{2}\b"),  # MAC
    re.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"),  # UUID
    re.compile(r"(?<=\()[^\s()@]+@[^\s()]+(?=\))"),  # builder@host in /proc/version
    re.compile(r"(?<=/home/)[^/\s\"]+|(?<=/media/)[^/\s\"]+"),  # people's mount points
    re.compile(r"\b(?:eui|naa|nvme|uuid)\.[0-9a-fA-F-]{8,}", re.IGNORECASE),
)
_LINES = re.compile(
    r"^(\s*(?:Serial Number|Asset Tag|UUID|LU WWN Device Id|Part Number|Bank Locator)\s*:).*$",
    re.MULTILINE | re.IGNORECASE,
)


def redact(text: str, hosts: tuple[str, ...] = ()) -> str:
    """Return ``text`` without serials, MACs, UUIDs and the given host names."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return _plain(text, hosts)
    if not isinstance(value, dict | list):
        return _plain(text, hosts)
    return json.dumps(_walk(value, hosts), indent=1, sort_keys=True, ensure_ascii=False)


def _walk(value: Any, hosts: tuple[str, ...]) -> Any:
    if isinstance(value, dict):
        return {k: MARK if _secret(k, v) else _walk(v, hosts) for k, v in value.items()}
    if isinstance(value, list):
        return [_walk(v, hosts) for v in value]
    return _plain(value, hosts) if isinstance(value, str) else value


def _secret(key: str, value: Any) -> bool:
    return bool(_KEYS.search(key)) and value not in (None, "", [], {})


def _plain(text: str, hosts: tuple[str, ...]) -> str:
    text = _LINES.sub(rf"\1 {MARK}", text)
    for pattern in _PATTERNS:
        text = pattern.sub(MARK, text)
    for host in hosts:
        if len(host) > 1:
            text = re.sub(rf"(?<![\w-]){re.escape(host)}(?![\w-])", MARK, text, flags=re.IGNORECASE)
    return text
