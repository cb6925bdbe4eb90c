"""What lies inside images: in the bill of materials, in advisories; images share their blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from appliance.bundle.advisories import touching
from appliance.bundle.build import Plan, build
from appliance.bundle.collect.images import check_archive, collect_image, source_of
from appliance.bundle.images.oci import AGENT_COMMENT, Layer, settled_first
from appliance.bundle.model import Content, Entry, Manifest, custom_of, entry_of
from appliance.bundle.recipe import Image, Recipe
from appliance.core.clock import FixedClock
from appliance.core.errors import ArchiveRefusedError, BundleFormatError
from appliance.core.progress import NoProgress
from appliance.core.settings.bundle import BundleSettings
from tests.unit.bundle.bundle_attacker import NOW, World, load
from tests.unit.bundle.test_build import NoShell, oci

SETTINGS = BundleSettings(chunk_bytes=65_536, image_chunk_bytes=4096)
OPENSSL = {
    "name": "libssl3",
    "version": "3.0.11-1~deb12u2+b1",
    "architecture": "amd64",
    "source": "openssl (3.0.11-1~deb12u2)",
    "licence": "Apache-2.0",
}
WHEEL = {"name": "toy-part", "version": "1.0"}
RECIPE = {
    "name": "toy",
    "version": "1.0",
    "machine": {"distribution": "", "release": "", "architecture": ""},
    "images": [{"name": "base"}],
    "agent": False,
}


def describe(folder: Path, **more: Any) -> Path:
    """Write an image archive and the description its build leaves beside it."""
    path = folder / "base.oci.tar"
    oci(path)
    value = {"manifest": check_archive(path)[0], "debian": [OPENSSL], "wheels": [WHEEL]}
    (folder / "base.json").write_text(json.dumps(value | more))
    return path


def test_the_bill_of_materials_names_what_is_inside_an_image(tmp_path: Path, world: World) -> None:
    describe(tmp_path)
    out = tmp_path / "out"
    plan = Plan(Recipe.model_validate(RECIPE), tmp_path, tmp_path / "w", out, 1, images=tmp_path)
    build(plan, world.signers(), SETTINGS, (NoShell(), FixedClock(NOW), NoProgress()))
    files = load(out).files
    targets = json.loads(files["metadata/1.targets.json"])["signed"]["targets"]

    def document(name: str) -> Any:
        digest = targets[name]["hashes"]["sha256"]
        return json.loads(files[f"chunks/{digest[:2]}/{digest}"])

    bill = document("sbom.cdx.json")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None
    (image,) = bill["components"]
    assert [(c["name"], c["version"]) for c in image["components"]] == [
        ("libssl3", "3.0.11-1~deb12u2+b1"),
        ("toy-part", "1.0"),
    ]
    assert image["components"][0]["purl"].endswith("&upstream=openssl%403.0.11-1~deb12u2")
    assert document("licences.json")["Apache-2.0"] == ["libssl3 3.0.11-1~deb12u2+b1"]
    manifest = Manifest.model_validate(document("bundle.json"))
    assert {c.path for c in manifest.inside} == {"images/base.oci.tar"}


def test_advisories_are_carried_and_read_before_they_are(tmp_path: Path, world: World) -> None:
    describe(tmp_path)
    osv = tmp_path / "osv.json"
    plan = Plan(
        *(Recipe.model_validate(RECIPE), tmp_path, tmp_path / "w", tmp_path / "out", 1),
        images=tmp_path,
        advisories=osv,
    )
    tools = (NoShell(), FixedClock(NOW), NoProgress())
    osv.write_text("not JSON")
    with pytest.raises(BundleFormatError, match="OSV"):
        build(plan, world.signers(), SETTINGS, tools)
    osv.write_text('[{"id": "TEST-1"}]')
    assert build(plan, world.signers(), SETTINGS, tools)["ok"]
    files = load(tmp_path / "out").files
    targets = json.loads(files["metadata/1.targets.json"])["signed"]["targets"]
    assert "advisories.json" in targets


def test_a_description_of_another_image_is_refused(tmp_path: Path) -> None:
    path = describe(tmp_path, manifest="sha256:" + "0" * 64)
    with pytest.raises(ArchiveRefusedError, match="description"):
        collect_image(Image(name="base"), path)


@pytest.mark.parametrize(
    ("fixed", "hits"), [("3.0.11-1~deb12u2", []), ("3.0.13-1~deb12u1", ["libssl3"])]
)
def test_advisories_of_a_source_package_touch_its_binaries(fixed: str, hits: list[str]) -> None:
    """Debian's advisories name the source (openssl); what is installed is libssl3, perhaps +b1."""
    content = Content(
        path="images/base.oci.tar",
        kind="package",
        name="libssl3",
        version=str(OPENSSL["version"]),
        source=source_of(str(OPENSSL["source"]), str(OPENSSL["version"])),
    )
    advisory = {
        "id": "TEST-1",
        "affected": [
            {
                "package": {"ecosystem": "Debian:12", "name": "openssl"},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fixed}]}
                ],
            }
        ],
    }
    assert [h.part for h in touching([content], [advisory])] == hits


def test_a_source_field_without_a_version_has_the_packages_own() -> None:
    assert source_of("bzip2 (1.0.8-5)", "1.0.8-5+b1") == "bzip2@1.0.8-5"
    assert source_of("zlib", "1:1.2") == "zlib@1:1.2"


def test_the_layer_that_changes_lies_last_and_the_rest_keeps_its_order() -> None:
    comments = ["Debian packages of base", AGENT_COMMENT, "wheels of console", "files of console"]
    layers = [Layer(Path(), c, 0, "", 0, c) for c in comments]
    assert [x.comment for x in settled_first(layers)] == [
        "Debian packages of base",
        "wheels of console",
        "files of console",
        AGENT_COMMENT,
    ]


def test_an_image_is_cut_smaller_than_a_model(tmp_path: Path, world: World) -> None:
    """A change of code touches the end of an image; larger blocks would carry the rest along."""
    archive = describe(tmp_path)
    length = archive.stat().st_size
    out = tmp_path / "out"
    plan = Plan(Recipe.model_validate(RECIPE), tmp_path, tmp_path / "w", out, 1, images=tmp_path)
    build(plan, world.signers(), SETTINGS, (NoShell(), FixedClock(NOW), NoProgress()))
    targets = json.loads(load(out).files["metadata/1.targets.json"])["signed"]["targets"]
    target = targets["images/base.oci.tar"]
    assert target["custom"]["chunk_bytes"] == 4096
    assert len(target["custom"]["chunks"]) == -(-length // 4096)
    entry: Entry = entry_of(
        "images/base.oci.tar", length, target["hashes"]["sha256"], target["custom"]
    )
    assert custom_of(entry) == target["custom"]
