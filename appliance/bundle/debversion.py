"""Comparing Debian version numbers (Debian Policy 5.6.12), without a call of dpkg each time."""

from __future__ import annotations

import re


def compare(left: str, right: str) -> int:
    """Return -1, 0 or 1 as ``left`` is earlier than, equal to or later than ``right``."""
    a, b = _split(left), _split(right)
    if a[0] != b[0]:
        return -1 if a[0] < b[0] else 1
    return _part(a[1], b[1]) or _part(a[2], b[2])


def _split(version: str) -> tuple[int, str, str]:
    epoch, colon, rest = version.strip().partition(":")
    if not colon or not epoch.isdecimal():
        epoch, rest = "0", version.strip()
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch), upstream, revision or "0"


def _order(char: str) -> int:
    if char == "~":
        return -1
    return ord(char) if char.isalpha() else ord(char) + 256


def _part(left: str, right: str) -> int:
    """Compare runs of non-digits by their order, runs of digits by their number."""
    a, b = re.findall(r"(\D*)(\d*)", left), re.findall(r"(\D*)(\d*)", right)
    for i in range(max(len(a), len(b))):
        (text_a, number_a) = a[i] if i < len(a) else ("", "")
        (text_b, number_b) = b[i] if i < len(b) else ("", "")
        for j in range(max(len(text_a), len(text_b))):
            order_a = _order(text_a[j]) if j < len(text_a) else 0
            order_b = _order(text_b[j]) if j < len(text_b) else 0
            if order_a != order_b:
                return -1 if order_a < order_b else 1
        difference = int(number_a or 0) - int(number_b or 0)
        if difference:
            return -1 if difference < 0 else 1
    return 0
