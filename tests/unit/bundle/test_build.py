"""Building: deterministic, described, difference bundles small, the SBOM accepted by others."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from appliance.bundle.advisories import is_affected, load_advisories, touching
from appliance.bundle.build import Plan, build, check_tuple, image_archives
from appliance.bundle.collect.apt import planned_files
from appliance.bundle.collect.common import BuildShell, Shell
from appliance.bundle.collect.files import pack
from appliance.bundle.collect.images import check_archive
from appliance.bundle.collect.wheels import (
    Where,
    agent_wheel,
    collect_wheels,
    for_target,
    split_lock,
)
from appliance.bundle.debversion import compare
from appliance.bundle.model import Content
from appliance.bundle.recipe import Recipe, Wheels, load_recipe, shipped
from appliance.core.clock import FixedClock
from appliance.core.errors import (
    ArchiveRefusedError,
    BundleFormatError,
    BundleRecipeError,
    CollectFailedError,
    InputMissingError,
)
from appliance.core.progress import NoProgress
from appliance.core.settings.bundle import BundleSettings
from tests.unit.bundle.bundle_attacker import NOW, World, load

SETTINGS = BundleSettings(chunk_bytes=65_536)


class NoShell:
    """A toy recipe runs no program."""

    def run(self, argv: object, cwd: Path, environment: dict[str, str]) -> str:
        raise AssertionError(argv)


def oci(path: Path, *, setuid: bool = False, damage: bool = False) -> None:
    """Write a minimal OCI archive with one layer."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        member = tarfile.TarInfo("usr/bin/su")
        member.mode, member.size = (0o4755 if setuid else 0o755), 4
        archive.addfile(member, io.BytesIO(b"\x7fELF"))
    blobs: dict[str, bytes] = {}

    def put(data: bytes) -> dict[str, object]:
        digest = hashlib.sha256(data).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = data
        return {"digest": f"sha256:{digest}", "size": len(data)}

    manifest = {"config": put(b"{}"), "layers": [put(layer.getvalue())]}
    index = {"manifests": [put(json.dumps(manifest).encode())]}
    with tarfile.open(path, "w") as archive:
        for name, data in {**blobs, "index.json": json.dumps(index).encode()}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            body = data[:-1] + b"x" if damage and data == layer.getvalue() else data
            archive.addfile(member, io.BytesIO(body))


def wheel(path: Path, version: str, body: bytes = b"") -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("toy/__init__.py", body)
        head = f"Name: Toy_Part\nVersion: {version}\nLicense-Expression: MIT\n"
        made.writestr(f"toy_part-{version}.dist-info/METADATA", head)


RECIPE = {
    "name": "toy",
    "version": "1.0",
    "machine": {"distribution": "", "release": "", "architecture": ""},
    "images": [{"name": "base", "path": "base.oci.tar", "version": "1"}],
    "collections": [{"name": "ansible.posix"}],
    "models": [{"name": "tiny", "path": "tiny.gguf", "version": "1", "licence": "Apache-2.0"}],
    "files": [{"path": "agent.py", "into": "agent/agent.py", "kind": "file"}],
    "agent": False,
}


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    oci(folder / "base.oci.tar")
    (folder / "tiny.gguf").write_bytes(bytes(range(251)) * 8000)
    (folder / "agent.py").write_text("print('one')\n")
    return folder


def made(inputs: Path, out: Path, world: World, **more: object) -> dict[str, object]:
    change = {"version": more.pop("version", "1.0")} | more.pop("recipe", {})  # type: ignore[operator] # a test names the fields
    recipe = Recipe.model_validate(RECIPE | change)
    plan = Plan(recipe, inputs, inputs.parent / "work", out, **{"sequence": 1} | more)  # type: ignore[arg-type] # a test names the fields
    shell: Shell = NoShell()
    return build(plan, world.signers(), SETTINGS, (shell, FixedClock(NOW), NoProgress()))


def test_the_same_inputs_give_the_same_medium(inputs: Path, world: World, tmp_path: Path) -> None:
    one, two = (made(inputs, tmp_path / n, world) for n in ("a", "b"))
    assert one["ok"] and one["bundle"] == two["bundle"]
    assert load(tmp_path / "a").files == load(tmp_path / "b").files


def test_an_incremental_build_writes_only_what_changed(
    inputs: Path, world: World, tmp_path: Path
) -> None:
    made(inputs, tmp_path / "a", world)
    (inputs / "agent.py").write_text("print('two')\n")
    again = made(inputs, tmp_path / "a", world, sequence=2)
    assert again["ok"]
    assert int(str(again["bytes_written"])) < 40_000 < int(str(again["bytes_reused"]))


def test_difference_bundle_of_a_code_only_change(
    inputs: Path, world: World, tmp_path: Path
) -> None:
    full = made(inputs, tmp_path / "a", world)
    (inputs / "agent.py").write_text("print('two')\n")
    part = made(inputs, tmp_path / "b", world, sequence=2, base=tmp_path / "a", version="1.1")
    sizes = [sum(len(b) for b in load(tmp_path / n).files.values()) for n in ("a", "b")]
    assert sizes[1] / sizes[0] < 0.02
    assert part["base"] == full["bundle"]
    with pytest.raises(BundleRecipeError, match="sequence"):
        made(inputs, tmp_path / "c", world, sequence=1, base=tmp_path / "a")


def documents(folder: Path) -> dict[str, bytes]:
    files = load(folder).files
    targets = json.loads(files["metadata/1.targets.json"])["signed"]["targets"]
    return {
        name: files[f"chunks/{t['hashes']['sha256'][:2]}/{t['hashes']['sha256']}"]
        for name, t in targets.items()
        if name.endswith(".json")
    }


def test_sbom_is_accepted_by_a_validator_written_by_others(
    inputs: Path, world: World, tmp_path: Path
) -> None:
    made(inputs, tmp_path / "a", world)
    found = documents(tmp_path / "a")
    text = found["sbom.cdx.json"].decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    broken = text.replace('"CycloneDX"', '"Other"')
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(broken) is not None
    parts = {(c["type"], c["name"]) for c in json.loads(text)["components"]}
    assert parts == {
        ("container", "base"),
        ("library", "ansible.posix"),
        ("machine-learning-model", "tiny"),
    }
    licences = json.loads(found["licences.json"])
    assert licences["Apache-2.0"] == ["tiny 1"]


def test_setuid_in_an_image_layer(tmp_path: Path) -> None:
    oci(tmp_path / "i", setuid=True)
    with pytest.raises(ArchiveRefusedError, match="setuid"):
        check_archive(tmp_path / "i")


def test_image_with_a_damaged_layer(tmp_path: Path) -> None:
    oci(tmp_path / "i", damage=True)
    with pytest.raises(ArchiveRefusedError, match="other bytes"):
        check_archive(tmp_path / "i")


def test_images_without_a_place_are_taken_from_the_folder_named(tmp_path: Path) -> None:
    images = [{"name": "base", "path": "base.oci.tar"}, {"name": "gateway"}]
    recipe = Recipe.model_validate(RECIPE | {"images": images})
    plan = Plan(recipe, tmp_path, tmp_path, tmp_path, 1)
    assert [p for _, p in image_archives(plan)] == [tmp_path / "base.oci.tar"]
    plan = Plan(recipe, tmp_path, tmp_path, tmp_path, 1, images=tmp_path / "made")
    assert image_archives(plan)[1][1] == tmp_path / "made" / "gateway.oci.tar"


@pytest.mark.parametrize("name", ["../gateway", "a/b", "", "Gateway", "-x"])
def test_a_name_of_an_image_that_is_a_path_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate(RECIPE | {"images": [{"name": name}]})


def test_an_image_that_is_wanted_and_missing_stops_the_build(
    inputs: Path, world: World, tmp_path: Path
) -> None:
    with pytest.raises(InputMissingError):
        made(inputs, tmp_path / "a", world, images=tmp_path, recipe={"images": [{"name": "x"}]})


def test_compatibility_tuple_must_be_what_was_collected() -> None:
    recipe = Recipe.model_validate(RECIPE | {"compatibility": {"torch": "2.13.0"}})
    torch = Content(path="wheels/t.whl", kind="wheel", name="torch", version="2.13.0+cpu")
    check_tuple(recipe, [torch])
    with pytest.raises(BundleRecipeError, match=r"torch 2\.12"):
        check_tuple(recipe, [torch.model_copy(update={"version": "2.12.0"})])


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("linux-image-{}-generic", "6.8.0-71", "6.11.0-1"),
        ("nvidia-utils-580-server", "580.95.05-0ubuntu0.24.04.1", "575.64.03-0ubuntu1"),
        ("nvidia-container-toolkit", "1.17.8-1", "1.18.0-1"),
    ],
)
def test_compatibility_tuple_that_is_not_in_the_packages(name: str, good: str, bad: str) -> None:
    stated = {"kernel": "6.8", "driver": "580", "container_toolkit": "1.17"}
    recipe = Recipe.model_validate(RECIPE | {"compatibility": stated})

    def package(version: str) -> Content:
        return Content(path="debs/x", kind="package", name=name.format(version), version=version)

    check_tuple(recipe, [package(good)])
    with pytest.raises(BundleRecipeError, match="tuple"):
        check_tuple(recipe, [package(bad)])


def test_every_shipped_recipe_reads() -> None:
    assert shipped() == ["debian-12", "debian-13", "demo", "ubuntu-24.04-nvidia"]
    for name in shipped():
        assert load_recipe(name).name == name


def test_recipe_with_an_unknown_key(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("name: x\nversion: '1'\nwheel: []\nmachine: {}\n")
    with pytest.raises(BundleRecipeError):
        load_recipe(str(tmp_path / "r.yaml"))
    with pytest.raises(InputMissingError):
        load_recipe("no-such-recipe")


def test_lock_lines_without_a_hash_are_refused() -> None:
    good = "a==1 \\\n    --hash=sha256:00\nb==2 ; x < '3' \\\n    --hash=sha256:11\n# c\n"
    assert set(split_lock(good)) == {"a", "b x < '3'"}
    with pytest.raises(BundleRecipeError, match="c==3"):
        split_lock(good + "c==3\n")


def test_apt_answers_are_read() -> None:
    printed = "Reading...\n'http://x/a_1_amd64.deb' a_1_amd64.deb 12 SHA256:00\n"
    assert planned_files(printed) == ["a_1_amd64.deb"]
    with pytest.raises(CollectFailedError):
        planned_files("nothing")


def test_packing_is_deterministic(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for file in ("one", "two") if name == "a" else ("two", "one"):
            (tmp_path / name / file).write_text(file)
    assert pack(tmp_path / "a", "x") == pack(tmp_path / "b", "x")


ADVISORY = {
    "id": "TEST-2026-1",
    "summary": "made up for the test",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "toy-part"},
            "ranges": [
                {
                    "type": "ECOSYSTEM",
                    "events": [{"introduced": "0"}, {"fixed": "1.10"}, {"introduced": "2.0"}],
                }
            ],
        },
        {
            "package": {"ecosystem": "Debian:12", "name": "openssl"},
            "ranges": [
                {
                    "type": "ECOSYSTEM",
                    "events": [{"introduced": "0"}, {"fixed": "3.0.11-1~deb12u2"}],
                }
            ],
        },
    ],
}


@pytest.mark.parametrize(
    ("version", "hit"), [("1.9", True), ("1.10", False), ("1.11", False), ("2.0.1", True)]
)
def test_advisory_ranges(version: str, *, hit: bool) -> None:
    affected = ADVISORY["affected"][0]
    assert isinstance(affected, dict)
    assert is_affected(version, affected, "PyPI") is hit


def test_advisories_touch_the_right_parts() -> None:
    parts = [
        Content(path="wheels/a.whl", kind="wheel", name="Toy_Part", version="1.9"),
        Content(path="debs/o.deb", kind="package", name="openssl", version="3.0.11-1~deb12u1"),
        Content(path="debs/p.deb", kind="package", name="openssl", version="3.0.11-1~deb12u3"),
        Content(path="docs/x", kind="document", name="toy-part", version="1.9"),
    ]
    data = json.dumps({"vulns": [ADVISORY, ADVISORY | {"id": "T-2", "withdrawn": "2026"}]})
    hits = touching(parts, load_advisories(data.encode()))
    assert [(h.part, h.version) for h in hits] == [
        ("Toy_Part", "1.9"),
        ("openssl", "3.0.11-1~deb12u1"),
    ]
    with pytest.raises(BundleFormatError):
        load_advisories(b"[1]")


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1.0~rc1", "1.0"), ("1.0", "1.0-1"), ("1.0-1", "1.0-1+b1"), ("1.9", "1.10"),
        ("9", "1:0.1"), ("1.0a", "1.0b"), ("1.0a", "1.0+"), ("2.36-9+deb12u1", "2.36-9+deb12u10"),
    ],
)  # fmt: skip
def test_debian_versions_in_order(left: str, right: str) -> None:
    assert compare(left, right) == -1
    assert compare(right, left) == 1
    assert compare(left, left) == 0


@given(st.text("0123456789.~+-ab:", min_size=1, max_size=9))
def test_debian_version_equals_itself(version: str) -> None:
    assert compare(version, version) == 0


def test_markers_are_judged_for_the_target_not_for_the_build_machine() -> None:
    """pip #11664: a marker in a requirements file is judged by the Python that pip runs on."""
    digest = f"    --hash=sha256:{'0' * 64}\n"
    lock = (
        f"a==1 ; python_full_version < '3.12' \\\n{digest}"
        f"a==2 ; python_full_version >= '3.12' \\\n{digest}"
        f"b==3 \\\n{digest}"
        f"c==4 ; sys_platform == 'win32' \\\n{digest}"
    )
    for python, version in (("3.11", "1"), ("3.13", "2")):
        found = for_target(split_lock(lock), python)
        assert set(found) == {"a", "b"}
        assert found["a"].splitlines() == [f"a=={version} \\", digest.rstrip("\n")]


def test_only_the_engine_is_compiled_and_only_in_a_root_of_the_target(tmp_path: Path) -> None:
    lock = tmp_path / "one.lock"
    lock.write_text(f"evil==1 \\\n    --hash=sha256:{'0' * 64}\n")
    where = Where(tmp_path, tmp_path / "work", tmp_path / "cache")
    for names in ({"build": ["evil"]}, {"build": ["llama-cpp-python"]}):
        text = lock.read_text().replace("evil", names["build"][0])
        lock.write_text(text)
        wheels = Wheels.model_validate({"locks": ["one.lock"], "python": "3.11", **names})
        with pytest.raises(BundleRecipeError, match="compile"):
            collect_wheels(wheels, where, NoShell())


def test_the_agents_wheel_holds_the_hardware_files(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    made = agent_wheel(root, tmp_path / "work", BuildShell(tmp_path / "log"))
    assert isinstance(made.source, Path)
    with zipfile.ZipFile(made.source) as archive:
        names = set(archive.namelist())
    assert {"hardware/alerts.yml", "hardware/models.yaml"} <= names
    assert "appliance/bundle/standalone/verify_bundle.py" in names
    assert "appliance/bundle/recipes/debian-12.yaml" in names
