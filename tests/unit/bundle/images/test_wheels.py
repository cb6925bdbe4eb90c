from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from appliance.bundle.images.recipe import Wheels
from appliance.bundle.images.wheels import WheelHouse, files_of, read_lock
from appliance.core.canonical import file_hash
from appliance.core.errors import ArchiveRefusedError, BundleRecipeError

SITE = "usr/local/lib/python3.11/dist-packages"


def wheel(folder: Path, name: str, *, requires: tuple[str, ...] = (), **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file.replace("__", "/").replace("_dot_", "."), text)
        head = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        head += "".join(f"Requires-Dist: {line}\n" for line in requires)
        archive.writestr(f"{name}-1.0.dist-info/METADATA", head)
    return path


def lock(paths: list[Path]) -> str:
    return "".join(
        f"{p.name.split('-')[0].replace('_', '-')}==1.0 \\\n    --hash=sha256:{'0' * 64} \\\n"
        f"    --hash=sha256:{file_hash(p)}\n"
        for p in paths
    )


@pytest.fixture
def house(tmp_path: Path) -> WheelHouse:
    pool = tmp_path / "cache" / "wheels"
    needs = ("low_part >=1", "windows-only ; sys_platform == 'win32'", "extra-part ; extra == 'x'")
    paths = [
        wheel(pool, "top_part", requires=needs, top="1"),
        wheel(pool, "low_part", requires=("top-part",), low="1"),
    ]
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "a.lock").write_text(lock(paths), encoding="utf-8")
    return WheelHouse(tmp_path / "cache", tmp_path / "locks", "3.11")


def test_the_closure_follows_requirements_whose_markers_hold(house: WheelHouse) -> None:
    found = house.collect(Wheels(lock="a.lock", roots=["top-part"]))
    assert [w.name for w in found] == ["low-part", "top-part"]


def test_what_is_not_needed_stays_out(house: WheelHouse) -> None:
    wanted = Wheels(lock="a.lock", roots=["top-part"], not_needed=["low-part"])
    assert [w.name for w in house.collect(wanted)] == ["top-part"]
    wanted = Wheels(lock="a.lock", roots=["top-part"], no_dependencies=["top-part"])
    assert [w.name for w in house.collect(wanted)] == ["top-part"]


def test_a_name_the_lock_lacks_is_refused(house: WheelHouse) -> None:
    with pytest.raises(BundleRecipeError, match="unknown-part"):
        house.collect(Wheels(lock="a.lock", roots=["unknown-part"]))


def test_a_wheel_with_other_bytes_is_not_taken(
    house: WheelHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        WheelHouse, "_download", lambda _self, pins: asked.extend(p.name for p in pins)
    )
    path = next((tmp_path / "cache" / "wheels").glob("top_part*"))
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Exception, match="top-part"):
        house.collect(Wheels(lock="a.lock", roots=["top-part"]))
    assert asked == ["top-part"]


def test_markers_are_those_of_the_image_not_of_this_machine() -> None:
    text = (
        f"a==1 ; python_full_version < '3.12' \\\n    --hash=sha256:{'1' * 64}\n"
        f"a==2 ; python_full_version >= '3.12' \\\n    --hash=sha256:{'2' * 64}\n"
        f"b==1 ; sys_platform == 'win32' \\\n    --hash=sha256:{'3' * 64}\n"
    )
    assert {p.name: p.version for p in read_lock(text, "3.11").values()} == {"a": "1"}
    assert read_lock(text, "3.13")["a"].version == "2"
    assert read_lock(text, "3.11")["a"].hashes == frozenset({"1" * 64})


def test_code_that_runs_at_every_start_is_refused(tmp_path: Path) -> None:
    path = wheel(tmp_path, "evil", evil_dot_pth="import os")
    with pytest.raises(ArchiveRefusedError, match=r"evil\.pth"):
        files_of(path, SITE)
    left = files_of(path, SITE, [f"{SITE}/evil.pth"])  # named in the recipe, so left out
    assert not [p for p in left.nodes if p.endswith(".pth")]


def test_a_path_out_of_the_modules_folder_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evil-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../../etc/passwd", "x")
    with pytest.raises(ArchiveRefusedError):
        files_of(path, SITE)


def test_the_parts_of_a_wheel_go_where_they_belong(tmp_path: Path) -> None:
    path = tmp_path / "p-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (
            "p/a.py",
            "p-1.0.data/purelib/b.py",
            "p-1.0.data/scripts/run",
            "p-1.0.data/data/share/x",
        ):
            archive.writestr(name, "x")
    files = {p for p, n in files_of(path, SITE).nodes.items() if n.kind == "file"}
    assert files == {f"{SITE}/p/a.py", f"{SITE}/b.py", "usr/local/share/x"}
