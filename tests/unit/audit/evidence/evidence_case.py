"""Make evidence, tamper with it, and run the verifier it carries as an outsider would."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from appliance.audit.evidence import Evidence, Kind, Limits, Part, Question, build
from appliance.audit.evidence_zip import members_of
from appliance.audit.witness import WitnessBook
from appliance.core.canonical import canonical_json

LIMITS = Limits(entries=10_000, proofs=5)
ANA = Question(
    "2026-03-01T02:00:00.000000Z", "2026-03-01T05:00:00.000000Z", {"patient": ["p1-ana"]}
)
Members = dict[str, bytes]


def made(
    log: Any, book: WitnessBook, question: Question = ANA, kind: Kind = "complete"
) -> Evidence:
    return build([Part(log.shard)], question, LIMITS, book, kind=kind)


def verify(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the carried verifier without site packages and return its answer."""
    command = [sys.executable, "-I", "-S", str(folder / "verify.py"), "--json", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def unpack(members: list[tuple[str, bytes]], folder: Path) -> Path:
    for name, data in members:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def reason(tmp_path: Path, evidence: Evidence, change: Callable[[Members], None]) -> Any:
    """Tamper with evidence and return why it is refused."""
    members = dict(members_of(evidence))
    change(members)
    code, answer = verify(unpack(list(members.items()), tmp_path / "tampered"))
    assert code == 1 and not answer["ok"]
    return answer["reason"][0]


def unpack_entries(data: bytes) -> list[bytes]:
    entries = []
    while data:
        length = int.from_bytes(data[:2], "big")
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    return entries


def edit(members: Members, name: str, change: Callable[[Any], Any]) -> None:
    members[name] = canonical_json(change(json.loads(members[name]))) + b"\n"
