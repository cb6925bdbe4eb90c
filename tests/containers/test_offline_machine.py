"""A bundle built here, carried as a FAT32 image file to a blank Debian 12 without a network.

The machine is a container of Debian's own packages with nothing of the build machine in it and no
interface but the loopback. It takes the agent from the medium (the standalone verifier first),
installs, updates, rolls back, and its log shows it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from docker import DockerClient
from docker.models.containers import Container

from appliance.bundle.collect.common import BuildShell
from appliance.bundle.images.recipe import load_defaults
from appliance.bundle.recipe import load_recipe
from tests.ceremony import hold
from tests.containers.container_support import RECIPES, ROOT

pytestmark = pytest.mark.containers
# What the commands of this proof import; a whole agent would take minutes to install.
SEEDS = (
    *("click", "cryptography", "packaging", "psutil", "pydantic", "pyyaml", "rfc8785", "rich"),
    *("securesystemslib", "tomli-w", "tuf"),
)
TODAY = datetime.now(UTC).date().isoformat()
AGENT = "/opt/appliance/venv/bin/appliance --home /srv/appliance"


def closure(names: tuple[str, ...]) -> list[str]:
    """Return ``names`` and what they need, as installed here."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name not in found:
            found.add(name)
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):
                for line in importlib.metadata.distribution(name).requires or []:
                    match = re.match(r"[A-Za-z0-9._-]+", line)
                    if match and "extra ==" not in line:
                        waiting.append(match.group())
    return sorted(found)


def recipe(path: Path, version: str, note: Path) -> Path:
    """Write a small recipe with the life cycle of the real one."""
    health = load_recipe("debian-12").lifecycle.health
    value = {
        "name": "small",
        "version": version,
        "machine": {"distribution": "debian", "release": "12", "python": "3.11"},
        "wheels": {"locks": ["images/locks/agent.lock"], "only": closure(SEEDS), "python": "3.11"},
        "collections": [{"name": "ansible.posix"}],
        "files": [{"path": str(note), "into": "docs/note.txt"}],
        "lifecycle": {
            "activate": [
                {
                    "kind": "unpack",
                    "archive": "collections/ansible-posix.tar.gz",
                    "into": "collections",
                },
                {"kind": "venv", "into": "venv", "argv": ["/usr/bin/python3"]},
            ],
            "health": [list(command) for command in health],
        },
    }
    path.write_text(yaml.safe_dump(value))
    return path


def agent(*argv: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", *argv, "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def carry(folder: Path, work: Path) -> Path:
    """Put a medium into a FAT32 image file and return what comes out of it on the other side.

    Through mtools, because not every kernel that builds has the file system's module.
    """
    shell = BuildShell(work / "log")
    image, out = work / f"{folder.name}.img", work / f"{folder.name}.out"
    files = [p for p in folder.rglob("*") if p.is_file()]
    size = sum(p.stat().st_size for p in files) + 40_960 * len(files)
    with image.open("wb") as stream:
        stream.truncate((size >> 20) + 96 << 20)
    shell.run(["mkfs.vfat", "-F", "32", "-n", "BUNDLE", str(image)], work, {})
    inside = [str(p) for p in sorted(folder.iterdir())]
    shell.run(["mcopy", "-Q", "-s", "-i", str(image), *inside, "::/"], work, {})
    out.mkdir()
    shell.run(["mcopy", "-Q", "-s", "-n", "-i", str(image), "::/*", str(out)], work, {})
    image.unlink()
    return out


@pytest.fixture
def media(tmp_path: Path) -> tuple[Path, str]:
    """Hold the ceremony, build a full and a difference bundle, carry both over."""
    keys = hold(tmp_path / "keys", agent)
    common = [*keys.arguments(), "--input", str(ROOT)]
    common += ["--work", str(tmp_path / "work")]
    note, mounted = tmp_path / "note.txt", tmp_path / "sticks"
    paper = ""
    mounted.mkdir()
    for number, version in enumerate(("0.1.0", "0.1.1"), 1):
        note.write_text(f"this is {version}\n")
        made = recipe(tmp_path / f"{version}.yaml", version, note)
        out = tmp_path / f"stick{number}"
        more = ["--sequence", str(number), "--out", str(out)]
        more += ["--base", str(tmp_path / "stick1")] if number > 1 else []
        done = agent("bundle", "build", "--recipe", str(made), *more, *common)
        paper = done["paper"]["root_fingerprint"]
        carry(out, tmp_path).rename(mounted / str(number))
    return mounted, paper


@pytest.fixture
def blank(docker: DockerClient, media: tuple[Path, str], tmp_path: Path) -> Iterator[Container]:
    """A machine of Debian's packages alone, without a network, the media at /media."""
    tarball = tmp_path / "blank.tar"
    defaults = load_defaults(RECIPES)
    BuildShell(tmp_path / "log").run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase", "--include=python3,python3-venv"),
            *(defaults.suite, str(tarball), *defaults.mirrors),
        ],
        tmp_path,
        {},
    )
    tag = f"blank-debian-12:test{os.getpid()}"
    with tarball.open("rb") as stream:
        docker.api.import_image_from_data(stream.read(), *tag.split(":"))
    machine = docker.containers.run(
        tag,
        ["sleep", "infinity"],
        detach=True,
        init=True,
        network_mode="none",
        volumes=[f"{media[0]}:/media:ro"],
    )
    yield machine
    machine.remove(force=True)
    docker.images.remove(tag)


def test_carried_to_a_blank_machine_without_a_network(
    blank: Container, media: tuple[Path, str]
) -> None:
    paper = media[1]

    def run(line: str, wanted: int = 0) -> str:
        done = blank.exec_run(["sh", "-c", line], demux=True)
        parts = cast("tuple[bytes | None, bytes | None]", done.output)  # as demux gives it
        out, errors = ((part or b"").decode() for part in parts)
        assert done.exit_code == wanted, out + errors
        return out

    def said(line: str, wanted: int = 0) -> Any:
        return json.loads(run(f"{AGENT} {line} --json", wanted))

    assert [x for x in run("ls /sys/class/net").split() if x != "lo"] == []
    look = f'python3 -I /media/1/verify_bundle.py /media/1 --fingerprint "{paper}" --date {TODAY}'
    assert "VERIFIED" in run(f"{look} --into /opt/appliance")
    run(
        "python3 -m venv /opt/appliance/venv && /opt/appliance/venv/bin/pip install -q --no-deps"
        " --no-index --no-cache-dir /opt/appliance/content/wheels/*.whl && mkdir -p /srv/appliance"
    )
    given = f'--fingerprint "{paper}" --date {TODAY}'
    assert said(f"bundle verify /media/1 {given}")["root_from"] == "paper"
    one = said(f"bundle install /media/1 {given}")["version"]
    two = said(f"bundle update /media/2 --date {TODAY}")["version"]
    assert "this is 0.1.1" in run("cat /srv/appliance/bundle/current/content/docs/note.txt")
    back = {"ok": True, "version": one, "earlier": two, "warnings": []}
    assert said("bundle rollback") == back
    assert "this is 0.1.0" in run("cat /srv/appliance/bundle/current/content/docs/note.txt")
    assert said(f"bundle update /media/1 --date {TODAY}", 77)["error"]["id"] == "bundle-rollback"
    run("/srv/appliance/bundle/current/activated/venv/bin/appliance --version")
    run("ls /srv/appliance/bundle/current/activated/collections/ansible_collections/ansible/posix")
    assert said("audit verify")["ok"]
    receipts = run(f"{AGENT} audit search --json")
    for action in ("bundle.verify", "bundle.install", "bundle.update", "bundle.rollback"):
        assert f'"{action}"' in receipts
    assert paper.replace(" ", "") in receipts
