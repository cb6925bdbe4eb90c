"""``images/compose.yaml`` as read by docker-compose, a judge written by others."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from appliance.bundle.images.services import read_plan

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "images" / "compose.yaml"
VALUES = {"APPLIANCE_HOME": "/srv/appliance", "APPLIANCE_SECURITY": str(ROOT / "security")}


def config(text: str) -> tuple[int, str, str]:
    """Let docker-compose check and resolve a file; no engine is asked."""
    program = shutil.which("docker-compose")
    if program is None:
        pytest.fail("needs docker-compose: apt-get install docker-compose")
    argv = [program, "--project-directory", str(ROOT / "images"), "-p", "appliance", "-f", "-"]
    done = subprocess.run(
        [*argv, "config"],
        input=text,
        env=os.environ | VALUES,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def shipped() -> str:
    """Return the file without its name: Debian 12's docker-compose is older than that key."""
    return re.sub(r"^name: .*\n", "", COMPOSE.read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_the_file_is_accepted_and_understood_as_we_do() -> None:
    code, out, errors = config(shipped())
    assert code == 0, errors
    theirs: dict[str, Any] = yaml.safe_load(out)
    ours = read_plan(COMPOSE, VALUES)
    assert set(ours.services) >= set(theirs["services"]) > {"gateway", "inference", "console"}
    for name, service in theirs["services"].items():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["image"] == ours.services[name]["image"]
        assert bool(service["mem_limit"]) and int(service["pids_limit"]) > 0
    assert theirs["networks"]["inside"]["internal"] is True
    assert theirs["services"]["inference"]["network_mode"] == "none"


def test_a_key_that_does_not_exist_is_refused() -> None:
    """The judge can say no."""
    code, _, errors = config(shipped().replace("    pids_limit: 512", "    pids_limits: 512", 1))
    assert code != 0
    assert "pids_limits" in errors
