from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jinja2
import pytest
import yaml

from appliance.bundle.images.services import read_plan
from appliance.cli.host import CONTENT_VARIABLE, playbooks_folder
from appliance.core.home import Home
from appliance.core.settings import load_settings
from appliance.core.settings.training import TrainingSettings
from appliance.host.declaration import SERVICES
from tests.unit.bundle.images.memory_engine import small_archive

ROOT = Path(__file__).parents[3]
PLAYBOOKS = ROOT / "playbooks"
ROLES = sorted(p for p in (PLAYBOOKS / "roles").iterdir() if p.is_dir())
CHECKED = [role for role in ROLES if role.name != "preflight"]
COMMANDS = {"ansible.builtin.command", "ansible.builtin.shell", "ansible.builtin.script"}
LOOKS = COMMANDS | {"ansible.builtin.uri", "ansible.builtin.stat"}


def _read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def _tasks(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    waiting = list(_read(path) or [])
    while waiting:
        task = waiting.pop(0)
        found.append(task)
        for part in ("block", "rescue", "always"):
            waiting += task.get(part, [])
    return found


def _all_tasks() -> list[tuple[str, dict[str, Any]]]:
    files = [f for r in ROLES for d in ("tasks", "handlers") for f in sorted((r / d).glob("*.yml"))]
    return [(f"{f.relative_to(PLAYBOOKS)}: {t.get('name')}", t) for f in files for t in _tasks(f)]


def _script(role: str, name: str) -> ModuleType:
    path = PLAYBOOKS / "roles" / role / "files" / name
    spec = importlib.util.spec_from_file_location(name.removesuffix(".py").replace("-", "_"), path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("role", ROLES, ids=lambda role: str(role.name))
def test_every_variable_is_declared_with_type_and_meaning(role: Path) -> None:
    specs = _read(role / "meta" / "argument_specs.yml")["argument_specs"]
    defaults = _read(role / "defaults" / "main.yml")
    entries = {f.stem for f in (role / "tasks").glob("*.yml")} & {"main", "verify", "lock", "start"}
    assert specs.keys() == entries
    for entry in specs.values():
        assert entry["options"].keys() == defaults.keys()
        for name, option in entry["options"].items():
            assert name.startswith(f"{role.name}_")
            assert option["description"] and option["type"]


@pytest.mark.parametrize("role", CHECKED, ids=lambda role: str(role.name))
def test_every_verify_looks_with_commands_and_says_what_to_do(role: Path) -> None:
    tasks = _tasks(role / "tasks" / "verify.yml")
    asserts = [t["ansible.builtin.assert"] for t in tasks if "ansible.builtin.assert" in t]
    looks = [t for t in tasks if LOOKS & t.keys()]
    registered = {t["register"] for t in looks}
    assert asserts and registered
    for one in asserts:
        conditions = [one["that"]] if isinstance(one["that"], str) else one["that"]
        assert all(isinstance(c, str) and c not in {"true", "True"} for c in conditions)
        assert "Expected" in one["fail_msg"] or one["fail_msg"].startswith("{{")
        assert "To do:" in one["fail_msg"]
    for task in looks:
        assert task.get("changed_when") is False or "ansible.builtin.command" not in task
    text = (role / "tasks" / "verify.yml").read_text(encoding="utf-8")
    unused = {name for name in registered if len(re.findall(rf"\b{name}\b", text)) < 2}
    assert unused == set()


def test_verify_changes_nothing() -> None:
    harmless = LOOKS | {"ansible.builtin.assert", "ansible.builtin.set_fact", "ansible.builtin.uri"}
    keys = {
        "name",
        "register",
        "changed_when",
        "failed_when",
        "vars",
        "when",
        "loop",
        "loop_control",
    }
    for role in CHECKED:
        for task in _tasks(role / "tasks" / "verify.yml"):
            assert task.keys() - keys <= harmless, (role.name, task["name"])


def test_preflight_changes_nothing() -> None:
    for path in (PLAYBOOKS / "roles" / "preflight" / "tasks").glob("*.yml"):
        for task in _tasks(path):
            if COMMANDS & task.keys():
                assert task["changed_when"] is False, task["name"]
            else:
                known = ("assert", "stat", "import_tasks")
                assert any(f"ansible.builtin.{m}" in task for m in known), task["name"]


def test_every_command_says_when_it_changes_something() -> None:
    for where, task in _all_tasks():
        if COMMANDS & task.keys():
            run = task[next(iter(COMMANDS & task.keys()))]
            assert "changed_when" in task or "creates" in run, where


def test_secrets_are_not_shown() -> None:
    for where, task in _all_tasks():
        text = json.dumps(task.get("ansible.builtin.command", "")) + json.dumps(
            task.get("environment", "")
        )
        if "storage_secret" in text or "storage_escrowed" in text:
            assert task.get("no_log") is True, where


def test_the_recovery_key_is_tried_before_the_tpm_is_bound() -> None:
    tasks = _tasks(PLAYBOOKS / "roles" / "storage" / "tasks" / "keys.yml")
    names = [str(t["name"]) for t in tasks]
    tried = names.index("Keys | Try it before the TPM is bound")
    bound = names.index("Keys | Bind the TPM")
    written = [i for i, t in enumerate(tasks) if "ansible.builtin.copy" in t]
    steps = (PLAYBOOKS / "roles" / "storage" / "tasks" / "main.yml").read_text(encoding="utf-8")
    assert tried < bound and written
    text = (PLAYBOOKS / "roles" / "storage" / "tasks" / "keys.yml").read_text(encoding="utf-8")
    assert (
        text.index("Write it to the medium")
        < text.index("Try it before")
        < text.index("Bind the TPM")
    )
    assert steps.index("volume.yml") < steps.index("keys.yml") < steps.index("mount.yml")


def test_validation_comes_first_and_locking_down_last() -> None:
    plays = _read(PLAYBOOKS / "site.yml")
    assert [r["role"] for r in plays[0]["roles"]] == ["preflight"]
    assert [r["role"] for r in plays[2]["roles"]] == [
        "hardening",
        "firewall",
        "network",  # the address comes last: nothing is reachable before the rules stand
    ]
    assert plays[2]["tasks"][0]["ansible.builtin.import_role"]["tasks_from"] == "lock.yml"
    used = {r["role"] for play in plays for r in play["roles"]}
    assert used == {r.name for r in ROLES}
    verified = _read(PLAYBOOKS / "verify.yml")[0]["vars"]["verify_roles"]
    assert set(verified) == {r.name for r in CHECKED}


def test_collections_are_pinned_to_those_of_the_carried_package() -> None:
    wanted = _read(PLAYBOOKS / "collections" / "requirements.yml")["collections"]
    spec = importlib.util.find_spec("ansible_collections")
    assert spec is not None
    folder = Path(next(iter(spec.submodule_search_locations or [])))
    for one in wanted:
        manifest = folder.joinpath(*one["name"].split("."), "MANIFEST.json")
        info = json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]
        assert info["version"] == one["version"], one["name"]
    used = {key.rpartition(".")[0] for _, t in _all_tasks() for key in t if key.count(".") == 2}
    assert used - {"ansible.builtin"} <= {one["name"] for one in wanted}


def test_every_supported_system_names_the_same_things() -> None:
    names = [_read(p).keys() for p in sorted((PLAYBOOKS / "vars").glob("*.yml"))]
    assert len(names) == 3
    assert names[0] == names[1] == names[2]


def test_the_playbooks_are_read_by_ansible() -> None:
    program = Path(sys.executable).with_name("ansible-playbook")
    for book in ("site.yml", "verify.yml"):
        done = subprocess.run(
            [str(program), "--syntax-check", book],
            cwd=PLAYBOOKS,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr


def test_an_address_is_taken_when_another_card_answers_for_it() -> None:
    arp = _script("preflight", "address_taken.py")
    mine, other = b"\x02" + bytes(5), b"\x06" + bytes(5)
    address = bytes([192, 0, 2, 7])
    reply = arp.probe(other, address)  # another probe for the same address: RFC 5227, 2.1.1
    assert arp.answers(reply, mine, address)
    assert not arp.answers(arp.probe(mine, address), mine, address)
    assert not arp.answers(arp.probe(other, bytes([192, 0, 2, 8])), mine, address)
    claimed = reply[:28] + address + reply[32:]
    assert arp.answers(claimed, mine, address)
    assert all(not arp.answers(claimed[:n], mine, address) for n in range(42))


def test_a_package_that_is_not_what_was_signed_is_refused(tmp_path: Path) -> None:
    index = _script("apt_source", "make_index.py")
    debs = tmp_path / "debs"
    debs.mkdir()
    (debs / "a_1_all.deb").write_bytes(b"other bytes")
    targets = tmp_path / "targets.json"
    signed = {"signed": {"targets": {"debs/a_1_all.deb": {"hashes": {"sha256": "0" * 64}}}}}
    targets.write_text(json.dumps(signed), encoding="utf-8")
    with pytest.raises(SystemExit, match="found other bytes"):
        index.index_of(debs, targets)
    targets.write_text('{"signed": {"targets": {}}}', encoding="utf-8")
    with pytest.raises(SystemExit, match="found other bytes"):
        index.index_of(debs, targets)


@pytest.mark.parametrize("packed", ["xz", "gzip", "none", "zstd"])
def test_a_package_says_of_itself_what_dpkg_says(tmp_path: Path, packed: str) -> None:
    folder = tmp_path / "a"
    (folder / "DEBIAN").mkdir(parents=True)
    text = "Package: a\nVersion: 1\nArchitecture: all\nMaintainer: x <x@example.org>\n"
    text += "Description: ação\n more of it\n .\n the end\n"
    (folder / "DEBIAN" / "control").write_text(text, encoding="utf-8")
    deb = tmp_path / "a.deb"
    build = ["dpkg-deb", "--uniform-compression", f"-Z{packed}", "--build", str(folder), str(deb)]
    subprocess.run(build, check=True, capture_output=True)
    said = subprocess.run(
        ["dpkg-deb", "--field", str(deb)], check=True, capture_output=True, text=True
    ).stdout
    assert _script("apt_source", "make_index.py").control_of(deb) == said.strip() != ""


def test_cards_are_found_without_a_driver(tmp_path: Path) -> None:
    cards = _script("nvidia", "cards.py")
    for name, vendor, kind in (
        ("0000:01:00.0", "0x10de", "0x030000"),
        ("0000:01:00.1", "0x10de", "0x040300"),
        ("0000:02:00.0", "0x8086", "0x030000"),
    ):
        device = tmp_path / name
        device.mkdir()
        (device / "vendor").write_text(vendor + "\n", encoding="utf-8")
        (device / "class").write_text(kind + "\n", encoding="utf-8")
        (device / "device").write_text("0x2b85\n", encoding="utf-8")
    assert cards.cards(tmp_path) == [{"address": "0000:01:00.0", "device": "0x2b85"}]


@pytest.mark.parametrize(
    ("states", "well"),
    [
        ({"gateway": "healthy", "inference": "running"}, True),
        ({"gateway": "healthy", "inference": "missing"}, False),
        ({"gateway": "unhealthy"}, False),
        ({"gateway": "starting"}, False),
    ],
)
def test_services_are_well_only_when_none_is_known_to_be_ill(
    states: dict[str, str], *, well: bool
) -> None:
    assert _script("appliance", "appliance-services.py").well(states) is well


@pytest.mark.parametrize("name", ["trainer", "trainer-cuda"])
def test_the_trainer_is_started_by_a_unit_of_its_own(tmp_path: Path, name: str) -> None:
    script = _script("appliance", "appliance-services.py")
    plan = read_plan(ROOT / "images" / "compose.yaml", {})
    assert set(script.always(plan).services) == set(SERVICES)
    assert script.trainer_archive(tmp_path) is None
    archive = tmp_path / "images" / f"{name}.oci.tar"
    image = small_archive(archive, f"appliance/{name}:1")
    unit = (PLAYBOOKS / "roles/appliance/templates/appliance-trainer.service.j2").read_text()
    assert f"ConditionPathExists=|{{{{ appliance_content }}}}/images/{archive.name}\n" in unit
    program = [sys.executable, str(script.__file__), "trainer-image", str(tmp_path)]
    told = subprocess.run(program, capture_output=True, text=True, check=True)
    assert script.trainer_archive(tmp_path) == archive and told.stdout == image


@pytest.mark.parametrize("image", ["sha256:" + "a" * 64, "", '{"ok": true}'])
def test_the_agent_is_told_where_its_trainer_is(tmp_path: Path, image: str) -> None:
    """Without rights to the engine, so `train` and `pipeline` need no setting of the site's."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined)  # noqa: S701 - no HTML: TOML for our own reader
    environment.tests["match"] = lambda value, pattern: re.match(pattern, value) is not None
    source = (PLAYBOOKS / "roles/appliance/templates/machine.toml.j2").read_text(encoding="utf-8")
    values = {"appliance_trainer": {"stdout": image}, "appliance_content": "/c"}
    (tmp_path / "machine.toml").write_text(environment.from_string(source).render(values))
    found = load_settings(tmp_path / "appliance.toml").training
    if image.startswith("sha256:"):
        assert (found.runner, found.image) == ("attached", image)
        assert found.seccomp == Path("/c/security/seccomp/appliance.json")
    else:
        assert found == TrainingSettings()


def test_no_unit_names_one_version() -> None:
    """After an update a restart is enough, and no unit names a folder that is removed one day."""
    for path in PLAYBOOKS.glob("roles/*/templates/*.service.j2"):
        assert "site_content" not in path.read_text(encoding="utf-8"), path
    default = _read(PLAYBOOKS / "roles/appliance/defaults/main.yml")["appliance_content"]
    assert default == "{{ site_home }}/bundle/current/content"


def test_the_first_agent_uses_the_playbooks_it_was_proven_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the bundle lies in the volume only setup.sh knows where they are."""
    setup = (PLAYBOOKS / "setup.sh").read_text(encoding="utf-8")
    assert f"{CONTENT_VARIABLE}=$content" in setup
    home = Home(tmp_path / "home")
    for content in (tmp_path / "content", home.root / "bundle" / "current" / "content"):
        (content / "playbooks").mkdir(parents=True)
        (content / "playbooks" / "site.yml").write_text("---\n", encoding="utf-8")
    monkeypatch.setenv(CONTENT_VARIABLE, str(tmp_path / "content"))
    installed = home.root / "bundle" / "current"
    assert playbooks_folder(home, None) == installed / "content" / "playbooks"
    shutil.rmtree(installed)
    assert playbooks_folder(home, None) == tmp_path / "content" / "playbooks"


@pytest.mark.parametrize(
    ("words", "user"),
    [
        ("host verify", "root"),
        ("bundle update /m", "root"),
        ("doctor", "root"),
        ("--help", "root"),
        ("serve keys list", "appliance"),
        ("console user add x", "appliance"),
        ("audit verify", "appliance"),
    ],
)
def test_the_command_does_as_root_only_what_needs_root(
    tmp_path: Path, words: str, user: str
) -> None:
    text = (PLAYBOOKS / "roles/appliance/templates/appliance.sh.j2").read_text(encoding="utf-8")
    for name, value in (
        ("appliance_home", "/srv/appliance"),
        ("appliance_agent_folder", str(tmp_path)),
        ("appliance_uid", "10001"),
        ("appliance_gid", "10000"),
    ):
        text = text.replace("{{ " + name + " }}", value)
    for name, body in (
        ("appliance", 'echo "root $*"'),
        ("setpriv", 'echo "$@"'),
        ("id", "echo 0"),
        ("wrapper", text.removeprefix("#!/bin/sh\n")),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        [str(tmp_path / "wrapper"), *words.split()],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    dropped = f"--reuid=10001 --regid=10000 --clear-groups {tmp_path}/appliance {words}\n"
    assert done.stdout == (f"root {words}\n" if user == "root" else dropped)
