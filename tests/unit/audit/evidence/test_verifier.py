"""The carried verifier as a program: every Python runs it, no hostile file makes it crash."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.audit.evidence import Limits, Part, Question, build
from appliance.audit.evidence_zip import members_of, write_zip
from appliance.audit.standalone import verify_main
from appliance.audit.standalone.verify_text import TEXT
from appliance.audit.witness import WitnessBook

ANA = Question(
    "2026-03-01T02:00:00.000000Z", "2026-03-01T05:00:00.000000Z", {"patient": ["p1-ana"]}
)
Members = dict[str, bytes]


@pytest.fixture
def cosigned(log: Any, book: WitnessBook) -> Members:
    """Evidence that a witness's signature covers."""
    log.cosign(book, 1_772_400_000)
    return dict(members_of(build([Part(log.shard)], ANA, Limits(10_000, 5), book)))


def interpreters() -> list[str]:
    """This interpreter, and every other from 3.8 on that runs on this machine."""
    named = [shutil.which(f"python3.{minor}") for minor in range(8, 16)]
    works = [
        name
        for name in named
        if name and not subprocess.run([name, "-V"], capture_output=True, check=False).returncode
    ]
    return [sys.executable, *works]


@pytest.mark.parametrize("interpreter", interpreters())
def test_every_python_from_3_8_on_verifies(
    tmp_path: Path, cosigned: Members, interpreter: str
) -> None:
    write_zip(tmp_path / "evidence.zip", list(cosigned.items()))
    (tmp_path / "verify.py").write_bytes(cosigned["verify.py"])
    command = [interpreter, "-I", "-S", str(tmp_path / "verify.py"), "--json"]
    command.append(str(tmp_path / "evidence.zip"))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr


NAMES = [
    "manifest.json",
    "policy.json",
    "accesses.ndjson",
    "part-0001/checkpoint",
    "part-0001/entries.bin",
    "part-0001/proof.json",
    "part-0001/proofs/120.tlog-proof",
]


Change = tuple[str, int, int, bool]
changes = st.tuples(st.sampled_from(NAMES), st.integers(0), st.integers(1, 255), st.booleans())


@settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(changes)
def test_no_changed_byte_passes_or_crashes_the_verifier(
    tmp_path: Path, log: Any, book: WitnessBook, cosigned: Members, change: Change
) -> None:
    """Only the policy may be weakened unseen (it is the zip's own word): so officers pin keys."""
    name, place, flip, cut = change
    data = bytearray(cosigned[name])
    place %= len(data)
    data[place] ^= flip
    changed = {**cosigned, name: bytes(data[:place] if cut else data)}
    target = tmp_path / "changed.zip"
    write_zip(target, list(changed.items()))
    pins = [log.key.vkey], [book.policy().witnesses[0].vkey]
    evidence, why = verify_main.examine(str(target), *pins)
    if why:
        assert why[0] in TEXT["pt"] and verify_main.show(evidence, why, "pt")
        return
    assert evidence is not None
    said, now = json.loads(cosigned[name]), evidence.files.json(name)
    if name == "manifest.json":
        # The question itself may become another one whose answer is the same, a microsecond wider
        # say: what is shown is then the new question, and it is true.
        assert {**said, "question": None} == {**now, "question": None}
        assert said["question"] != now["question"]
        return
    assert name == "policy.json"
    assert said["logs"] == now["logs"]


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000,
        b'{"format":"hospital-ai-evidence/1","question":[],"kind":1,"parts":1,"matches":1}',
        b'{"format":"hospital-ai-evidence/1","question":{"from":1,"to":2},"parts":[]}',
        b'{"format":"hospital-ai-evidence/1","kind":"complete","parts":[],"question":{}}',
        b'{"format":"hospital-ai-evidence/1","kind":"inclusion","matches":0,"parts":[]}',
        b'{"format":"hospital-ai-evidence/1","kind":"other","matches":0,"parts":[{}]}',
    ],
)
def test_a_hostile_manifest_is_refused_without_a_traceback(
    tmp_path: Path, cosigned: Members, content: bytes
) -> None:
    members = {**cosigned, "accesses.ndjson": b"", "manifest.json": content}
    write_zip(tmp_path / "evidence.zip", list(members.items()))
    evidence, why = verify_main.examine(str(tmp_path / "evidence.zip"), [], [])
    assert why[0] in TEXT["en"] and verify_main.show(evidence, why, "en")


@pytest.mark.parametrize("name", ["manifest.json", "policy.json", "part-0001/proof.json"])
@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"\xff", b"null", b'{"format":"hospital-ai-evidence/1"}']
)
def test_a_file_of_another_shape_is_refused(
    tmp_path: Path, cosigned: Members, name: str, content: bytes
) -> None:
    write_zip(tmp_path / "evidence.zip", list({**cosigned, name: content}.items()))
    _, why = verify_main.examine(str(tmp_path / "evidence.zip"), [], [])
    assert why[0] in TEXT["en"]


def test_what_is_no_zip_is_refused(tmp_path: Path) -> None:
    for name, content in (("a.zip", b""), ("b.zip", b"PK\x03\x04"), ("c.zip", None)):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        _, why = verify_main.examine(str(path), [], [])
        assert why[0] in {"bad-file", "no-file"}


def test_what_was_mistyped_is_said_so(tmp_path: Path, cosigned: Members) -> None:
    path = tmp_path / "evidence.zip"
    write_zip(path, list(cosigned.items()))
    assert verify_main.examine(str(tmp_path / "nada.zip"), [], [])[1][0] == "no-file"
    assert verify_main.examine(str(path), ["not a key"], [])[1] == ["bad-pin", "not a key"]
    assert verify_main.examine(str(path), [], [""])[1] == ["bad-pin", ""]
    evidence, why = verify_main.examine(str(path), [], [])
    shown = verify_main.show(evidence, why, "pt")
    assert shown.startswith(
        "Pergunta: 2026-03-01T02:00:00.000000Z .. 2026-03-01T05:00:00.000000Z; patient = p1-ana\n"
    )
