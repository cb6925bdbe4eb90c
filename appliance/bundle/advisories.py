"""Which advisories of the OSV file that the bundle carries touch its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.version import InvalidVersion, Version

from appliance.bundle.debversion import compare
from appliance.bundle.model import Content
from appliance.core.errors import BundleFormatError


@dataclass(frozen=True)
class Hit:
    """One advisory that touches one part."""

    advisory: str
    summary: str
    part: str
    version: str
    fixed: str


def load_advisories(data: bytes) -> list[dict[str, Any]]:
    """Read an OSV file: one record, a list of them, or ``{"vulns": [...]}``."""
    try:
        value = json.loads(data)
    except ValueError as error:
        raise BundleFormatError(expected="OSV records in JSON", found="not JSON") from error
    if isinstance(value, dict):
        value = value.get("vulns", [value])
    if not isinstance(value, list) or not all(isinstance(v, dict) and "id" in v for v in value):
        raise BundleFormatError(expected="OSV records with an id", found="something else")
    return value


def touching(contents: Sequence[Content], advisories: Sequence[dict[str, Any]]) -> list[Hit]:
    """Return each advisory that names a part of ``contents`` in a version it affects."""
    parts: dict[tuple[str, str], list[Content]] = {}
    for content in contents:
        for ecosystem in _ecosystems(content):
            for name in {content.name, content.source.partition("@")[0] or content.name}:
                parts.setdefault((ecosystem, _name(ecosystem, name)), []).append(content)
    hits = []
    for advisory in advisories:
        if advisory.get("withdrawn"):
            continue
        for affected in advisory.get("affected", []):
            package = affected.get("package", {})
            ecosystem = str(package.get("ecosystem", "")).split(":")[0]
            key = (ecosystem, _name(ecosystem, str(package.get("name", ""))))
            hits += [
                _hit(advisory, affected, content)
                for content in parts.get(key, [])
                if is_affected(_version(content), affected, ecosystem)
            ]
    return sorted(set(hits), key=lambda h: (h.part, h.advisory))


def _version(content: Content) -> str:
    """Return the version that advisories compare: a binary rebuild keeps its source's."""
    return content.source.partition("@")[2] or content.version


def _ecosystems(content: Content) -> tuple[str, ...]:
    if content.kind in {"wheel", "agent"}:
        return ("PyPI",)
    if content.kind == "package":
        return ("Debian", "Ubuntu")
    return ()


def _name(ecosystem: str, name: str) -> str:
    low = name.lower()
    return low.replace("_", "-").replace(".", "-") if ecosystem == "PyPI" else low


def is_affected(version: str, affected: dict[str, Any], ecosystem: str) -> bool:
    """Follow OSV's evaluation: listed versions, then ranges of introduced and fixed events."""
    if version in affected.get("versions", []):
        return True
    return any(
        _in_range(version, spans, ecosystem)
        for spans in affected.get("ranges", [])
        if spans.get("type") in {"ECOSYSTEM", "SEMVER"}
    )


def _in_range(version: str, spans: dict[str, Any], ecosystem: str) -> bool:
    inside = False
    for kind, limit in _events(spans):
        order = -1 if limit == "0" else _compare(limit, version, ecosystem)
        if kind == "introduced" and order <= 0:
            inside = True
        elif (kind == "fixed" and order <= 0) or (kind == "last_affected" and order < 0):
            inside = False
    return inside


def _events(spans: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for event in spans.get("events", []):
        for kind, limit in event.items():
            yield kind, str(limit)


def _compare(left: str, right: str, ecosystem: str) -> int:
    if ecosystem != "PyPI":
        return compare(left, right)
    try:
        a, b = Version(left), Version(right)
    except InvalidVersion:
        return compare(left, right)
    return (a > b) - (a < b)


def _hit(advisory: dict[str, Any], affected: dict[str, Any], content: Content) -> Hit:
    fixed = [
        limit
        for spans in affected.get("ranges", [])
        for kind, limit in _events(spans)
        if kind == "fixed"
    ]
    return Hit(
        str(advisory["id"]),
        str(advisory.get("summary", ""))[:200],
        content.name,
        content.version,
        ", ".join(fixed),
    )
