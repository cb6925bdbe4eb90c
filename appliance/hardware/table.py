"""Tables on a terminal: columns cut by words, no library, no colour needed to read them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from appliance.hardware.inventory import Inventory
from appliance.hardware.texts import Words
from appliance.hardware.verdict import Result


def table(head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    """Lay out rows under a head; a cell longer than its width goes on below."""
    lines = []
    rule = tuple("-" * w for w in widths)
    for row in (head, rule, *rows):
        cells = [textwrap.wrap(c, w) or [""] for c, w in zip(row, widths, strict=True)]
        for i in range(max(len(c) for c in cells)):
            parts = [
                (c[i] if i < len(c) else "").ljust(w) for c, w in zip(cells, widths, strict=True)
            ]
            lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def check_table(result: Result, inventory: Inventory, say: Words) -> str:
    """Return the answer of `hardware check` for people."""
    head = [say(f"head.{k}") for k in ("status", "check", "expected", "found", "todo")]
    order = {"fail": 0, "unknown": 1, "warn": 2, "pass": 3}
    rows = [
        [say(f"status.{c.status}"), title(c.name, say), c.expected, c.found, c.remedy]
        for c in sorted(result.checks, key=lambda c: order[c.status])
    ]
    lines = [table(head, rows, (12, 22, 26, 32, 48)), ""]
    counts = {s: sum(c.status == s for c in result.checks) for s in ("fail", "unknown")}
    key = "verdict.yes" if result.ok else "verdict.no"
    lines.append(say(key, profile=result.profile, **counts))
    if inventory.root_would_add:
        lines.append(say("root_adds", names=", ".join(inventory.root_would_add)))
    return "\n".join(lines)


def title(name: str, say: Words) -> str:
    """Return the title of a check."""
    group = name.split(".", 1)
    if group[0] == "question":
        return f"{say('title.question')}: {group[1]}"
    return say(f"title.{name}")


def inventory_lines(inventory: Inventory, say: Words) -> str:
    """Return the inventory for people: one line a fact; what is not known says so, and why."""
    value = inventory.to_dict()
    why = value.pop("why_unknown")
    root = value.pop("root_would_add")
    lines = list(_facts("", value, say("unknown", why="-")))
    lines += [f"? {name}: {reason}" for name, reason in sorted(why.items())]
    if root:
        lines.append(say("root_adds", names=", ".join(root)))
    return "\n".join(lines)


def _facts(path: str, value: Any, unknown: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _facts(f"{path}.{key}" if path else key, inner, unknown)
    elif isinstance(value, list) and any(isinstance(v, dict | list) for v in value):
        for i, inner in enumerate(value):
            yield from _facts(f"{path}[{i}]", inner, unknown)
    elif isinstance(value, list):
        yield f"{path}: {' '.join(map(str, value)) or '-'}"
    else:
        shown = "-" if value == "" else value
        yield f"{path}: {unknown if value is None else shown}"
