"""Which licence a part is under: what it states, what its texts say, or whose text to read."""

from __future__ import annotations

import json
import os
import subprocess
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.collect.files import collect_collection
from appliance.bundle.collect.images import LICENCES, collect_image
from appliance.bundle.collect.licence_texts import licences_of
from appliance.bundle.collect.licences import (
    RULES,
    deb_licence,
    licences_in,
    wheel_metadata,
)
from appliance.bundle.images.oci import Runtime, assemble, write_archive, write_layer
from appliance.bundle.images.tree import Tree
from appliance.bundle.model import Content
from appliance.bundle.recipe import Collection, Image
from appliance.bundle.sbom import sbom
from appliance.core.canonical import sha256_hex
from tests.unit.bundle.bundle_attacker import manifest

GNU = (
    " * This {thing} is free software; you can redistribute it and/or modify it under the\n"
    " * terms of the GNU {family}General Public License as published by the Free Software\n"
    " * Foundation; {version}.\n"
)
GPL = """GNU GENERAL PUBLIC LICENSE
    Version 3, 29 June 2007
How to Apply These Terms to Your New Programs
    the GNU General Public License, either version 3 of the License, or any later version
"""
BSD = "Redistribution and use in source and\n binary forms, with or without modification:\n"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (GNU.format(thing="program", family="", version="version 2"), ["GPL-2"]),
        (
            GNU.format(
                thing="library",
                family="Lesser ",
                version="either version 2.1 of\n * the License, or (at your option) any later",
            ),
            ["LGPL-2.1+"],
        ),
        ("The library is LGPLv2.1+, its tools are GPLv3+.", ["GPL-3+", "LGPL-2.1+"]),
        ("see /usr/share/common-licenses/GPL-2.", ["GPL-2"]),
        ("GPLv2+; see /usr/share/common-licenses/GPL-2 and .../GPL.", ["GPL-2+"]),
        ("under the GPL: /usr/share/common-licenses/GPL.", ["GPL"]),
        ("/usr/share/common-licenses/Artistic", ["Artistic"]),
        (
            "# Permission is hereby granted, free of charge, to any\n# person obtaining a copy",
            ["MIT"],
        ),
        (BSD, ["BSD-2-Clause"]),
        (BSD + "Neither the name of X nor those of others", ["BSD-3-Clause"]),
        (BSD + "All advertising materials mentioning features", ["BSD-4-Clause"]),
        ("                 Apache License\n           Version 2.0, January 2004", ["Apache-2.0"]),
        ("PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2\n-----", ["PSF-2.0"]),
        ("This software is in the public domain.", ["public-domain"]),
        (
            GPL,
            ["GPL-3"],
        ),
        ("Copyright 2020 by somebody. All rights reserved.", []),
    ],
)
def test_a_text_is_known_by_its_words(text: str, names: list[str]) -> None:
    assert licences_of(text) == names


@given(st.text(max_size=400))
def test_any_text_has_an_answer(text: str) -> None:
    assert licences_in(text)


def test_a_machine_readable_file_goes_before_its_words() -> None:
    assert licences_in("License: MIT\n x\nLicense: GPL-2+\nLicense: MIT\n") == "GPL-2+ AND MIT"
    assert licences_in(f"License: Expat\n{BSD}") == "Expat"


def test_what_is_not_known_names_the_text_to_read() -> None:
    text = "Ask the author."
    assert licences_in(text) == f"NOASSERTION (copyright file sha256:{sha256_hex(text.encode())})"
    assert licences_in(" \n") == "NOASSERTION (no copyright file)"


def deb(pool: Path, name: str, version: str, *, text: str = "", link: str = "") -> Path:
    """Build a package with a copyright file, or with a doc folder that is a link."""
    root = pool / "root" / f"{name}-{version}"
    doc = root / "usr" / "share" / "doc"
    doc.mkdir(parents=True)
    if link:
        (doc / name).symlink_to(link)
    else:
        (doc / name).mkdir()
        if text:
            (doc / name / "copyright").write_text(text)
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@example.org>\n"
        "Description: x\n"
    )
    path = pool / f"{name}_{version}_all.deb"
    build = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(path)]
    subprocess.run(build, check=True, capture_output=True)
    return path


def test_a_package_whose_folder_is_a_link_has_the_licence_of_its_neighbour(tmp_path: Path) -> None:
    deb(tmp_path, "toy-base", "1", text="under /usr/share/common-licenses/GPL-2")
    deb(tmp_path, "toy-base", "2", text="License: MIT\n")
    first = deb(tmp_path, "toy-lib", "1", link="toy-base")
    assert deb_licence(first, "toy-lib") == "GPL-2"
    assert deb_licence(deb(tmp_path, "toy-lib", "2", link="toy-base"), "toy-lib") == "MIT"
    # Another version number: the newest neighbour.
    assert deb_licence(deb(tmp_path, "toy-meta", "9", link="toy-base"), "toy-meta") == "MIT"
    alone = deb(tmp_path, "toy-alone", "1", link="toy-missing")
    assert deb_licence(alone, "toy-alone") == "NOASSERTION (no copyright file)"
    around = deb(tmp_path, "toy-around", "1", link="toy-around")
    assert deb_licence(around, "toy-around") == "NOASSERTION (no copyright file)"


def test_an_answer_of_earlier_rules_that_found_nothing_is_asked_again(tmp_path: Path) -> None:
    path = deb(tmp_path, "toy", "1", text="under /usr/share/common-licenses/GPL-2")
    note = path.with_name(f"{path.name}.licence.json")
    later = time.time() + 10
    for kept, said in (
        ({"licence": "NOASSERTION"}, "GPL-2"),
        ({"licence": "Expat"}, "Expat"),
        ({"licence": "NOASSERTION (x)", "rules": RULES}, "NOASSERTION (x)"),
    ):
        note.write_text(json.dumps(kept))
        os.utime(note, (later, later))
        assert deb_licence(path, "toy") == said
    os.utime(note, (0, 0))
    assert deb_licence(path, "toy") == "GPL-2"


@pytest.mark.parametrize(
    ("fields", "files", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0\nLicense: x\n", {}, "MIT OR Apache-2.0"),
        ("License: BSD\n", {"LICENSE": BSD}, "BSD"),
        ("Classifier: License :: OSI Approved :: MIT License\n", {}, "MIT License"),
        ("", {"licenses/LICENSE": "Apache License\nVersion 2.0"}, "Apache-2.0"),
        ("", {"COPYING": BSD, "licenses/a/LICENCE.txt": "GPLv2+"}, "BSD-2-Clause AND GPL-2+"),
        ("License: first line\n        under the GPLv3+\n", {}, "GPL-3+"),
        ("", {}, "NOASSERTION (no copyright file)"),
    ],
)
def test_a_wheel(tmp_path: Path, fields: str, files: dict[str, str], licence: str) -> None:
    with zipfile.ZipFile(tmp_path / "w.whl", "w") as archive:
        archive.writestr("toy-1.dist-info/METADATA", f"Name: toy\nVersion: 1\n{fields}\n")
        archive.writestr("toy/LICENSE", "Permission is hereby granted: not the wheel's own file")
        for name, text in files.items():
            archive.writestr(f"toy-1.dist-info/{name}", text)
    assert wheel_metadata(tmp_path / "w.whl") == ("toy", "1", licence)


def test_a_collection_names_a_file(tmp_path: Path) -> None:
    folder = tmp_path / "toy" / "tools"
    folder.mkdir(parents=True)
    info = {"version": "1", "license": [], "license_file": "COPYING"}
    (folder / "MANIFEST.json").write_text(json.dumps({"collection_info": info}))
    (folder / "COPYING").write_text("GNU GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n")
    named = Collection(name="toy.tools")
    assert collect_collection(named, tmp_path).content.licence == "GPL-3"
    (folder / "COPYING").unlink()
    found = collect_collection(named, tmp_path).content.licence
    assert found == "NOASSERTION (no copyright file)"


def test_an_image_says_it_in_its_label(tmp_path: Path) -> None:
    tree = Tree()
    tree.file("usr/bin/x", b"x", mode=0o755)
    layer = write_layer(tree, tmp_path / "layers", epoch=1_700_000_000, comment="x")
    runtime = Runtime("10001", labels={LICENCES: "Apache-2.0 AND LicenseRef-parts"})
    image = assemble("appliance/toy:1", [layer], runtime, epoch=1_700_000_000)
    write_archive(image, tmp_path / "toy.oci.tar", epoch=1_700_000_000)
    found = collect_image(Image(name="toy"), tmp_path / "toy.oci.tar").content
    assert found.licence == "Apache-2.0 AND LicenseRef-parts"


def test_the_bill_of_materials_says_it_of_every_part() -> None:
    parts = [
        Content(path="debs/a.deb", kind="package", name="a", licence="MIT"),
        Content(path="debs/b.deb", kind="package", name="b"),
    ]
    made = sbom(manifest(1), [(p, "0" * 64) for p in parts], "2026-01-01T00:00:00Z")
    names = [c["licenses"][0]["license"]["name"] for c in made["components"]]
    assert names == ["MIT", "NOASSERTION"]
