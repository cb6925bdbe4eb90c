"""A bundle built here, carried as an image file to a machine without a network.

The machine is a set of namespaces of its own (network, mounts, processes): there is no interface
but a loopback that is down. It verifies, installs, updates and rolls back, and its log shows it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.ceremony import hold

ROOT = Path(__file__).resolve().parents[3]
TODAY = "$(date -u +%Y-%m-%d)"
AGENT = f"{sys.executable} -m appliance"

MACHINE = f"""
set -eu
export APPLIANCE_HOME="$1/home"
if tail -n +3 /proc/net/dev | grep -qv '^ *lo:'; then exit 90; fi
{sys.executable} - <<'PROBE'
import socket, sys
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
except OSError:
    sys.exit(0)
sys.exit(91)
PROBE
mkdir -p "$1/stick"
mount -o loop,ro "$1/one.img" "$1/stick"
python3 -I "$1/stick/verify_bundle.py" "$1/stick" --fingerprint "$2" > "$1/standalone.txt"
{AGENT} bundle verify "$1/stick" --fingerprint "$2" --date "{TODAY}" --json > "$1/verify.json"
{AGENT} bundle install "$1/stick" --fingerprint "$2" --date "{TODAY}" --json > "$1/install.json"
umount "$1/stick"
mount -o loop,ro "$1/two.img" "$1/stick"
{AGENT} bundle inspect "$1/stick" --json > "$1/inspect.json"
{AGENT} bundle update "$1/stick" --date "{TODAY}" --json > "$1/update.json"
umount "$1/stick"
{AGENT} bundle rollback --json > "$1/rollback.json"
{AGENT} bundle versions --json > "$1/versions.json"
mount -o loop,ro "$1/one.img" "$1/stick"
{AGENT} bundle update "$1/stick" --date "{TODAY}" --json > "$1/older.json" && exit 92 || true
umount "$1/stick"
{AGENT} audit verify --json > "$1/log.json"
{AGENT} audit search --json > "$1/events.json"
"""


def run(*argv: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def agent(*argv: str) -> Any:
    return json.loads(run(sys.executable, "-m", "appliance", *argv, "--json"))


def image(folder: Path, target: Path) -> None:
    size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) // 1024 + 4096
    run("mke2fs", "-q", "-t", "ext2", "-d", str(folder), str(target), f"{size}k")


@pytest.fixture
def carried(tmp_path: Path) -> tuple[Path, str]:
    """Hold the ceremony, build a full and a difference bundle, put each into an image file."""
    keys = hold(tmp_path / "keys", agent)
    recipe = ROOT / "appliance" / "bundle" / "recipes" / "demo.yaml"
    newer = tmp_path / "newer.yaml"
    newer.write_text(recipe.read_text().replace("version: 0.1.0", "version: 0.1.1"))
    common = [*keys.arguments(), "--input", str(ROOT)]
    common += ["--work", str(tmp_path / "work")]
    one, two = tmp_path / "one", tmp_path / "two"
    first = agent(
        "bundle", "build", "--recipe", str(recipe), "--out", str(one), "--sequence", "1", *common
    )
    more = ["--sequence", "2", "--base", str(one)]
    agent("bundle", "build", "--recipe", str(newer), "--out", str(two), *more, *common)
    image(one, tmp_path / "one.img")
    image(two, tmp_path / "two.img")
    for gone in (one, two):
        shutil.rmtree(gone)
    return tmp_path, first["paper"]["root_fingerprint"]


@pytest.mark.root
def test_carried_to_a_machine_without_a_network(carried: tuple[Path, str]) -> None:
    if os.geteuid() != 0:
        pytest.fail("needs root to mount the image file")
    folder, paper = carried
    apart = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    run(*apart, "sh", "-c", MACHINE, "machine", str(folder), paper)

    def said(name: str) -> Any:
        return json.loads((folder / f"{name}.json").read_text())

    assert "VERIFIED" in (folder / "standalone.txt").read_text()
    assert said("verify")["ok"] and said("verify")["root_from"] == "paper"
    one, two = said("install")["version"], said("update")["version"]
    assert one.startswith("0.1.0-") and two.startswith("0.1.1-")
    assert said("inspect")["base"]["id"].startswith(one.partition("-")[2])
    assert said("rollback")["version"] == one
    assert [v["version"] for v in said("versions")["versions"] if v["current"]] == [one]
    assert said("older")["error"]["id"] == "bundle-rollback"
    assert said("log")["ok"]
    seen = (folder / "events.json").read_text()
    for action in ("bundle.verify", "bundle.install", "bundle.update", "bundle.rollback"):
        assert f'"{action}"' in seen
    version = folder / "home" / "bundle" / "versions" / one
    assert (
        version / "activated" / "collections" / "ansible_collections" / "ansible" / "posix"
    ).is_dir()
