"""The bill of materials (CycloneDX 1.6 JSON) and the licence list."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from appliance.bundle.model import Content, Manifest

_TYPES = {
    "package": "library",
    "wheel": "library",
    "image": "container",
    "collection": "library",
    "model": "machine-learning-model",
    "agent": "application",
}
_NAMESPACE = uuid.UUID("2b5ad3a1-6f0c-4b0e-9f27-4c1c7a0d8f15")


def sbom(manifest: Manifest, contents: Sequence[tuple[Content, str]], stamp: str) -> dict[str, Any]:
    """Return the CycloneDX document of ``contents`` (each with its SHA-256).

    Only parts with a licence of their own are components; documents and records are not. The
    serial number follows from the content, so the same inputs give the same bytes.
    """
    parts = [
        _component(c, digest) | _nested(c, manifest.inside)
        for c, digest in contents
        if c.kind in _TYPES
    ]
    serial = uuid.uuid5(_NAMESPACE, "".join(sorted(p["hashes"][0]["content"] for p in parts)))
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": stamp,
            "component": {
                "type": "firmware",
                "bom-ref": "bundle",
                "name": manifest.name,
                "version": manifest.version,
            },
        },
        "components": parts,
        "dependencies": [{"ref": "bundle", "dependsOn": [p["bom-ref"] for p in parts]}],
    }


def _nested(content: Content, inside: Sequence[Content]) -> dict[str, Any]:
    """Return what lies in an image as components of its component."""
    here = [c for c in inside if c.path == content.path and content.kind == "image"]
    return {"components": [_part(c, f"{c.path}#{c.kind}/{c.name}") for c in here]} if here else {}


def _component(content: Content, digest: str) -> dict[str, Any]:
    return _part(content, content.path) | {"hashes": [{"alg": "SHA-256", "content": digest}]}


def _part(content: Content, reference: str) -> dict[str, Any]:
    part: dict[str, Any] = {
        "type": _TYPES[content.kind],
        "bom-ref": reference,
        "name": content.name,
        "version": content.version,
    }
    if content.purl:
        part["purl"] = content.purl
    part["licenses"] = [{"license": {"name": content.licence}}]
    return part


def licence_list(contents: Sequence[Content]) -> dict[str, Any]:
    """Return {licence: [parts]}, sorted: what a lawyer reads."""
    found: dict[str, list[str]] = {}
    for content in contents:
        if content.kind in _TYPES:
            found.setdefault(content.licence, []).append(f"{content.name} {content.version}")
    return {licence: sorted(set(parts)) for licence, parts in sorted(found.items())}
