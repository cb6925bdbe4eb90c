"""What is on a medium or installed: content, versions, differences, advisories."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from appliance.bundle.advisories import load_advisories, touching
from appliance.bundle.medium import FolderMedium
from appliance.bundle.model import ADVISORIES, Content, Entry, Manifest
from appliance.bundle.prove import Wanted, prove, read_manifest
from appliance.bundle.service import Context, basis
from appliance.bundle.trust import Trusted, load_trusted
from appliance.core.canonical import sha256_hex
from appliance.core.durable import os_errors
from appliance.core.errors import BundleFormatError, NoEarlierVersionError, StateDamagedError
from appliance.core.settings.bundle import BundleSettings


def inspect_bundle(
    context: Context,
    medium: Path | None,
    newer: bytes | None,
    paper: str | None,
    attested: date | None,
) -> dict[str, Any]:
    """Describe the bundle on ``medium``, or the installed one; only proven bytes are read."""
    current = context.store.current()
    installed = current.manifest() if current is not None else None
    if medium is None:
        if installed is None:
            raise NoEarlierVersionError(expected="an installed version", found="none")
        manifest, extra = installed, {"source": "installed"}
    else:
        carried = FolderMedium(medium)
        rests = basis(context.store, carried, paper, context.limits)
        trusted = load_trusted(carried, rests.anchor, context.at(attested), context.limits)
        manifest = read_manifest(carried, trusted, context.limits)
        extra = {"source": "medium", "bundle": trusted.id, "root_from": rests.source}
    data = newer or _optional(context, medium, paper, attested, manifest)
    parts = (*manifest.contents, *manifest.inside)
    hits = touching(parts, load_advisories(data)) if data else []
    found = manifest.model_dump(mode="json")
    return {
        "ok": True,
        **extra,
        **{k: found[k] for k in ("name", "version", "sequence", "created", "machine")},
        "compatibility": found["compatibility"],
        "base": found["base"],
        "kinds": dict(Counter(c.kind for c in manifest.contents)),
        "parts_in_images": len(manifest.inside),
        "contents": found["contents"],
        "differences": differences(installed.contents if installed else (), manifest.contents),
        "advisories_known": data is not None,
        "advisories": [vars(h) for h in hits],
    }


def differences(old: Sequence[Content], new: Sequence[Content]) -> list[dict[str, str]]:
    """Return what is added, removed or of another version, by kind and name."""
    before = {(c.kind, c.name): c.version for c in old}
    after = {(c.kind, c.name): c.version for c in new}
    found = []
    for key in sorted(set(before) | set(after)):
        was, now = before.get(key), after.get(key)
        if was != now:
            change = "added" if was is None else "removed" if now is None else "changed"
            kind, name = key
            row = {"change": change, "kind": kind, "name": name}
            found.append({**row, "from": was or "", "to": now or ""})
    return found


def _optional(
    context: Context,
    medium: Path | None,
    paper: str | None,
    attested: date | None,
    manifest: Manifest,
) -> bytes | None:
    carried = [c.path for c in manifest.contents if c.kind == "advisories"]
    path = carried[0] if carried else ADVISORIES
    if not carried:
        return None
    return read_proven(context, medium, path, paper, attested)


def read_proven(
    context: Context, medium: Path | None, path: str, paper: str | None, attested: date | None
) -> bytes:
    """Return one small file of a medium, or of the installed version, after proving it."""
    if medium is None:
        return _installed(context, path)
    carried = FolderMedium(medium)
    rests = basis(context.store, carried, paper, context.limits)
    trusted = load_trusted(carried, rests.anchor, context.at(attested), context.limits)
    return _from_medium(carried, trusted, trusted.entry(path), context.limits)


def _from_medium(
    medium: FolderMedium, trusted: Trusted, entry: Entry, limits: BundleSettings
) -> bytes:
    if entry.length > limits.manifest_max_bytes or any(c.absent for c in entry.chunks):
        raise BundleFormatError(
            expected=f"{entry.path} on the medium {trusted.id[:12]}, not too large to show",
            found=f"{entry.length} bytes, or held by the base version",
        )
    data = bytearray()
    buffer = memoryview(bytearray(limits.buffer_bytes))
    for chunk in entry.chunks:
        wanted = Wanted(entry.chunk_path(chunk), chunk.length, chunk.sha256, entry.path)
        prove(medium, wanted, buffer, lambda part, _: data.extend(part))
    return bytes(data)


def _installed(context: Context, path: str) -> bytes:
    current = context.store.current()
    if current is None:
        raise NoEarlierVersionError(expected="an installed version", found="none")
    entry = next((e for e in current.entries() if e.path == path), None)
    if entry is None:
        raise BundleFormatError(expected=f"{path} in {current.id}", found="it is not listed")
    with os_errors(current.content / path):
        data = (current.content / path).read_bytes()
    if sha256_hex(data) != entry.sha256:
        raise StateDamagedError(expected=f"{path} as installed", found="other bytes")
    return data
