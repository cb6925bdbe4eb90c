"""The positive control: what the offline guard would have caught, it does catch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import json, socket, subprocess, sys
from pathlib import Path
from appliance.pipeline import isolation
if sys.argv[2] == "guard":
    isolation._enter_namespace = lambda: "switched off by the test"
held = isolation.enter(Path(sys.argv[1]))
counts = [held.attempts()]
def attempt(call):
    try:
        call()
    except OSError:
        counts.append(held.attempts())
    else:
        counts.append("left the machine")
attempt(lambda: socket.create_connection(("192.0.2.1", 80), 2))
attempt(lambda: socket.getaddrinfo("hospital.example", 443))
child = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"
subprocess.run([sys.executable, "-c", child], stderr=subprocess.DEVNULL)
counts.append(held.attempts())
if held.means == "namespace":  # compiled code: only the kernel can count it
    subprocess.run(["bash", "-c", "echo > /dev/tcp/192.0.2.1/80"], stderr=subprocess.DEVNULL)
    counts.append(held.attempts())
server = socket.socket(); server.bind(("127.0.0.1", 0)); server.listen()
socket.create_connection(server.getsockname()).close()
print(json.dumps({"means": held.means, "counts": counts, "after_loopback": held.attempts()}))
"""


def _probe(tmp_path: Path, means: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(tmp_path / "guard.log"), means],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.root
def test_in_the_namespace_every_attempt_is_refused_and_counted(tmp_path: Path) -> None:
    found = _probe(tmp_path, "namespace")
    assert found == {"means": "namespace", "counts": [0, 1, 2, 3, 4], "after_loopback": 4}


def test_the_guard_alone_refuses_and_counts_in_children_too(tmp_path: Path) -> None:
    found = _probe(tmp_path, "guard")
    assert found == {"means": "guard", "counts": [0, 1, 2, 3], "after_loopback": 3}
