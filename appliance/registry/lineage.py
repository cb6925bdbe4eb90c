"""The chain from what is served back to where it came from."""

from __future__ import annotations

from typing import Any

from appliance.core.errors import ModelUnknownError
from appliance.registry.manifest import Manifest
from appliance.registry.promotions import Promotion
from appliance.registry.store import ModelStore

ROLES = ("base", "dataset", "recipe", "adapter", "base_gguf")
MAX_DEPTH = 32  # a chain is base, SFT, preference, GGUF; a longer one is a loop


def lineage(store: ModelStore, name: str, history: list[Promotion]) -> list[dict[str, Any]]:
    """Return every object ``name`` was made from, origin first, with its promotions last.

    Raises:
        ModelUnknownError: no such object.
    """
    manifest = store.get(name)
    steps: dict[str, dict[str, Any]] = {}
    _walk(store, manifest, steps, 0)
    chain = list(steps.values())
    chain += [
        {
            "kind": "promotion",
            "hash": p.hash,
            "how": p.how,
            "log_index": p.index,
            "at": p.at,
            "evaluation": p.evaluation,
            "approved_by": p.approved_by,
        }
        for p in history
        if p.hash == manifest.hash
    ]
    return chain


def _walk(
    store: ModelStore, manifest: Manifest, steps: dict[str, dict[str, Any]], depth: int
) -> None:
    if depth > MAX_DEPTH or manifest.hash in steps:
        return
    for role in ROLES:
        target = manifest.links.get(role)
        if target is None or target in steps:
            continue
        if role in {"dataset", "recipe"}:
            steps[target] = {"kind": role, "hash": target}
            continue
        try:
            _walk(store, store.get(target), steps, depth + 1)
        except ModelUnknownError:
            steps[target] = {"kind": role, "hash": target, "missing": True}
    steps[manifest.hash] = manifest.summary() | {
        "source": manifest.source,
        "links": dict(manifest.links),
    }
