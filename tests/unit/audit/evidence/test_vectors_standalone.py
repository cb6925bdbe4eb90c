"""The small programs' proof checks against the 196 vectors written by others."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from appliance.audit.standalone import core


def raw(text: str | None) -> bytes:
    return base64.b64decode(text or "")


def test_all_vectors(shared_dir: Path) -> None:
    paths = sorted((shared_dir / "vectors" / "rfc6962" / "testdata").rglob("*.json"))
    wrong = []
    for path in paths:
        case = json.loads(path.read_text())
        proof = [raw(h) for h in case["proof"] or []]
        if "leafIdx" in case:
            good = core.inclusion_holds(
                raw(case["leafHash"]), case["leafIdx"], case["treeSize"], proof, raw(case["root"])
            )
        else:
            good = core.consistency_holds(
                case["size1"], case["size2"], proof, raw(case["root1"]), raw(case["root2"])
            )
        if good is case["wantErr"]:
            wrong.append(path.name)
    assert (len(paths), wrong) == (196, [])
