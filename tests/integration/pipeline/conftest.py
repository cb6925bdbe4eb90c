"""The demo at its smallest, as a process of its own that a test can kill anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from appliance.core.home import Home

RECORDS = 30
TIMEOUT_S = 600

# Runs the demo; wraps one stage so that the process is killed (SIGKILL) `after` seconds into it,
# or so that the disk is filled before it.
DRIVER = """
import dataclasses, json, os, signal, sys, threading, time
from appliance.pipeline import service

told = json.loads(sys.argv[1])
run_stages = service.run_stages

def wrapped(stage):
    if stage.name != told["stage"]:
        return stage
    def run(made):
        if told["do"] == "kill":
            def kill():
                time.sleep(told["after"])
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Thread(target=kill, daemon=True).start()
            if told["after"] == 0:
                time.sleep(30)
            made = stage.run(made)
            os.kill(os.getpid(), signal.SIGKILL)  # it was quicker: killed before its record
        else:
            with open(told["file"], "wb") as stream:
                try:
                    while True:
                        stream.write(bytes(1 << 16))
                        stream.flush()
                except OSError:
                    pass
        return stage.run(made)
    return dataclasses.replace(stage, run=run)

service.run_stages = lambda home, stages, *rest: run_stages(
    home, [wrapped(s) for s in stages], *rest
)
from appliance.cli.main import main
main(sys.argv[2:])
"""


@dataclass(frozen=True)
class SmallDemo:
    """A home, a small input and the ways to run the demo on them."""

    home: Path
    pubmedqa: Path

    def arguments(self, recipe: str) -> list[str]:
        """Return the demo's arguments."""
        where = ["--home", str(self.home)]
        return [*where, "demo", "--recipe", recipe, "--pubmedqa", str(self.pubmedqa), "--json"]

    def run(self, recipe: str = "tiny", **told: Any) -> subprocess.CompletedProcess[str]:
        """Run the demo; with ``stage`` and ``do`` something happens to it on the way."""
        head = [sys.executable, "-c", DRIVER, json.dumps(told)] if told else [
            sys.executable, "-m", "appliance"
        ]  # fmt: skip
        return subprocess.run(
            [*head, *self.arguments(recipe)],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
            env={**os.environ, "OMP_NUM_THREADS": "2"},
        )

    def appliance(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command on the same home."""
        return subprocess.run(
            [sys.executable, "-m", "appliance", "--home", str(self.home), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )


def small_pubmedqa(shared_dir: Path, folder: Path) -> Path:
    """Write the first records of PubMedQA, enough to train something."""
    whole = json.loads((shared_dir / "data" / "pubmedqa" / "ori_pqal.json").read_bytes())
    path = folder / "ori_pqal.json"
    path.write_text(json.dumps({k: whole[k] for k in list(whole)[:RECORDS]}), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small_demo(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallDemo:
    folder = tmp_path_factory.mktemp("demo")
    home = Home(folder / "home").prepare()
    home.settings_file.write_text("[evaluation]\ngenerated_answers = 2\n")
    return SmallDemo(home.root, small_pubmedqa(shared_dir, folder))
