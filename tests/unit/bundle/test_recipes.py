"""The shipped recipes carry what the playbooks ask for on the machine they are made for."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

import appliance
from appliance.bundle.collect.files import collect_collection, collect_file
from appliance.bundle.model import Restart
from appliance.bundle.recipe import Recipe, load_recipe

ROOT = Path(__file__).resolve().parents[3]
PLAYBOOKS = ROOT / "playbooks"
SYSTEMS = {
    "debian-12": "debian-12",
    "debian-13": "debian-13",
    "ubuntu-24.04-nvidia": "ubuntu-24.04",
}
VARIABLE = re.compile(r"\{\{\s*([a-z_]+)\s*\}\}")
# `{{ hardening_content }}/security/apparmor`, `x_content ~ '/security/exceptions.yaml'`
PLACE = re.compile(r"[a-z_]*content\s*(?:\}\}|~ ')/([A-Za-z0-9_./-]+)")
MODULE = re.compile(r"^\s*(?:- )?([a-z0-9_]+\.[a-z0-9_]+)\.[a-z0-9_]+:", re.MULTILINE)
MADE_THERE = {"debs"}  # what the package collector writes
ARCHIVE = re.compile(r"images/([a-z0-9-]+)\.oci\.tar")


def texts() -> Iterator[str]:
    for path in sorted(PLAYBOOKS.rglob("*")):
        if path.suffix in {".yml", ".j2", ".py"}:
            yield path.read_text(encoding="utf-8")


def variables(system: str) -> dict[str, Any]:
    """Return every role's defaults and the system's own values."""
    found: dict[str, Any] = {}
    files = [*PLAYBOOKS.glob("roles/*/defaults/main.yml"), PLAYBOOKS / f"vars/{system}.yml"]
    for path in files:
        found |= yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return found


def tasks(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every task of a file, those in blocks too."""
    for task in value or []:
        yield task
        for inner in ("block", "rescue", "always"):
            yield from tasks(task.get(inner))


def resolve(value: Any, known: dict[str, Any]) -> list[str]:
    """Return the package names a task's ``name`` stands for; an unknown variable fails the test."""
    if isinstance(value, list):
        return [name for one in value for name in resolve(one, known)]
    whole = VARIABLE.fullmatch(value)
    if whole is not None:
        return resolve(known[whole[1]], known)
    return [VARIABLE.sub(lambda match: str(known[match[1]]), value)]


def packages_asked_for(system: str) -> set[str]:
    known = variables(system)
    found: set[str] = set()
    for path in PLAYBOOKS.glob("roles/*/*/*.yml"):
        if path.parts[-3] == "nvidia" and not known["os_nvidia_supported"]:
            continue
        if path.parent.name not in {"tasks", "handlers"}:
            continue
        for task in tasks(yaml.safe_load(path.read_text(encoding="utf-8"))):
            asked = task.get("ansible.builtin.apt", {})
            if asked.get("state") == "present":
                found |= set(resolve(asked["name"], known))
    if known["os_nvidia_supported"]:
        found |= set(resolve(known["nvidia_kernel_packages"], known))
    setup = (PLAYBOOKS / "setup.sh").read_text(encoding="utf-8")
    line = re.search(r"install -y --no-install-recommends ([a-z0-9 .+-]+)$", setup, re.MULTILINE)
    assert line is not None
    return found | set(line[1].split())


def test_the_roles_ask_for_packages() -> None:
    """The reading above finds what is known to be there: it does not pass by finding nothing."""
    asked = packages_asked_for("debian-12")
    assert {"sudo", "docker.io", "ufw", "auditd", "aide", "tpm2-tools", "python3-venv"} <= asked
    assert "nvidia-container-toolkit" not in asked
    assert "nvidia-utils-580-server" in packages_asked_for("ubuntu-24.04")


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_package_a_role_installs_is_carried(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.apt is not None
    assert packages_asked_for(SYSTEMS[name]) - set(recipe.apt.packages) == set()


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_agent_finds_what_it_links_to(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.apt is not None and recipe.wheels is not None
    assert {"libgomp1", "python3-apt", "python3-venv"} <= set(recipe.apt.packages)
    assert recipe.machine.python == recipe.wheels.python
    assert recipe.version == appliance.__version__


def carried(recipe: Recipe) -> set[str]:
    return {c.content.path for file in recipe.files for c in collect_file(file, ROOT)}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_file_a_role_reads_is_carried(name: str) -> None:
    paths = carried(load_recipe(name))
    wanted = {place.rstrip("/.") for text in texts() for place in PLACE.findall(text)}
    assert {"security/firewall.yaml", "security/exceptions.yaml", "hardware/alerts.yml"} <= wanted
    archives = {place: ARCHIVE.fullmatch(place) for place in wanted}
    brought = {image.name for system in SYSTEMS for image in load_recipe(system).images}
    assert {m[1] for m in archives.values() if m} == {"trainer", "trainer-cuda"} <= brought
    for place in sorted(wanted - MADE_THERE - {p for p, m in archives.items() if m}):
        assert place in paths or any(p.startswith(f"{place}/") for p in paths), place
    assert {"security/controls.yaml", "security/seccomp/appliance.json"} <= paths
    assert {"playbooks/site.yml", "playbooks/setup.sh", "docs/it/install.md"} <= paths
    # appliance-services.py and the compose file itself look for these beside each other.
    assert "images/compose.yaml" in paths


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_collection_is_carried_pinned_and_unpacked(name: str) -> None:
    recipe = load_recipe(name)
    used = {m for text in texts() for m in MODULE.findall(text)} - {"ansible.builtin"}
    pins = yaml.safe_load((PLAYBOOKS / "collections/requirements.yml").read_text(encoding="utf-8"))
    pinned = {c["name"]: c["version"] for c in pins["collections"]}
    have = [c.name for c in recipe.collections]
    assert used <= set(have) == set(pinned)
    unpacked = {s.archive: s.into for s in recipe.lifecycle.activate if s.kind == "unpack"}
    for collection in recipe.collections:
        content = collect_collection(collection).content
        assert content.version == pinned[collection.name]
        assert unpacked[content.path] == "collections"
    search = (PLAYBOOKS / "ansible.cfg").read_text(encoding="utf-8")
    assert "../../activated/collections" in search  # where activation puts them


def long_running() -> dict[str, str]:
    """Return the units that run an agent's code for long, with their text."""
    units = {p.name.removesuffix(".j2"): p.read_text() for p in PLAYBOOKS.rglob("*.service.j2")}
    return {
        name: text
        for name, text in units.items()
        if re.search(r"^ExecStart=\{\{ [a-z_]*agent", text, re.MULTILINE)
        and ("Type=oneshot" not in text or "ExecStop=" in text)
    }


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_unit_that_runs_on_is_restarted_after_an_update(name: str) -> None:
    named = [u for step in load_recipe(name).lifecycle.after for u in step.units]
    units = long_running()
    assert {"appliance-audit.service", "appliance-services.service"} <= units.keys()
    assert sorted(named) == sorted(units)
    # systemd stops those who write to the log before its writer, and starts them after it.
    for unit, text in units.items():
        if unit not in {"appliance-audit.service", "appliance-trainer.service"}:
            assert re.search(r"^After=.*\bappliance-audit\.service", text, re.MULTILINE), unit


@pytest.mark.parametrize("unit", ["docker.service", "appliance-x.timer", "../appliance-x.service"])
def test_a_recipe_restarts_units_of_the_appliance_only(unit: str) -> None:
    with pytest.raises(ValidationError):
        Restart(kind="restart", units=(unit,))


def test_the_services_run_the_images_of_this_version() -> None:
    compose = (ROOT / "images/compose.yaml").read_text(encoding="utf-8")
    assert set(re.findall(r"APPLIANCE_VERSION:-([^}]+)\}", compose)) == {appliance.__version__}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_image_a_service_runs_is_carried(name: str) -> None:
    compose = (ROOT / "images/compose.yaml").read_text(encoding="utf-8")
    services = set(re.findall(r"image: appliance/([a-z-]+):", compose))
    have = {i.name.removesuffix("-cuda") for i in load_recipe(name).images}
    assert services <= have


def test_a_recipe_that_lacks_a_package_is_caught(tmp_path: Path) -> None:
    """The comparison can fail: a recipe without sudo is found out."""
    text = (Path(appliance.__file__).parent / "bundle/recipes/debian-12.yaml").read_text()
    poor = tmp_path / "poor.yaml"
    poor.write_text(text.replace("    - sudo\n", ""))
    recipe = load_recipe(str(poor))
    assert recipe.apt is not None
    assert packages_asked_for("debian-12") - set(recipe.apt.packages) == {"sudo"}


def test_nothing_of_the_work_tree_slips_in(tmp_path: Path) -> None:
    """Compiled files and hidden ones are no content."""
    recipe = load_recipe("debian-12")
    for file in recipe.files:
        source = ROOT / file.path
        target = tmp_path / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copy(source, target)
    clean = {c.content.path for f in recipe.files for c in collect_file(f, tmp_path)}
    (tmp_path / "playbooks/__pycache__").mkdir(exist_ok=True)
    (tmp_path / "playbooks/__pycache__/x.pyc").write_bytes(b"x")
    (tmp_path / "playbooks/.site.yml.swp").write_bytes(b"x")
    assert {c.content.path for f in recipe.files for c in collect_file(f, tmp_path)} == clean
