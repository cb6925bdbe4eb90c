"""Repair names damaged blocks and copies only those."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from appliance.bundle.medium import FolderMedium, Medium
from appliance.bundle.repair import Repaired, repair
from appliance.bundle.trust import Anchor, load_trusted
from appliance.bundle.verify import verify
from appliance.core.errors import BundleDamagedError
from appliance.core.progress import NoProgress
from tests.unit.bundle.bundle_attacker import LIMITS, NOW, MemoryMedium, World, load


@pytest.fixture
def pair(world: World, tmp_path: Path) -> tuple[Path, Path]:
    world.folder(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path / "a", tmp_path / "b"


def run(first: Path, second: Medium, world: World) -> Repaired:
    trusted = load_trusted(second, Anchor(world.roots[0]), NOW, LIMITS)
    before = verify(FolderMedium(first), trusted, LIMITS, NoProgress())
    damaged = [f.path for f in before.faults]
    done = repair((FolderMedium(first), second), trusted, LIMITS, damaged, NoProgress())
    assert verify(FolderMedium(first), trusted, LIMITS, NoProgress()).ok
    return done


def blocks(medium: Path) -> list[Path]:
    return sorted(p for p in (medium / "chunks").rglob("*") if p.is_file())


def test_only_damaged_blocks_are_copied(pair: tuple[Path, Path], world: World) -> None:
    first, second = pair
    one, two, three = blocks(first)[:3]
    one.write_bytes(b"x" * one.stat().st_size)
    two.unlink()
    three.write_bytes(three.read_bytes()[:-1])
    untouched = {p: p.stat().st_mtime_ns for p in blocks(first)[3:]}
    other = load(second)
    done = run(first, other, world)
    wanted = {p.relative_to(first).as_posix() for p in (one, two, three)}
    assert set(done.blocks) == wanted
    assert done.bytes == sum((second / p).stat().st_size for p in wanted)
    assert {p: p.stat().st_mtime_ns for p in untouched} == untouched
    assert not list(first.glob(".tmp*"))


def test_damaged_metadata_is_copied_too(pair: tuple[Path, Path], world: World) -> None:
    first, second = pair
    (first / "metadata" / "timestamp.json").write_bytes(b"{}")
    (first / "metadata" / "1.targets.json").unlink()
    done = run(first, FolderMedium(second), world)
    assert set(done.metadata) == {"metadata/timestamp.json", "metadata/1.targets.json"}
    assert done.blocks == ()


def test_both_media_damaged_at_the_same_block(pair: tuple[Path, Path], world: World) -> None:
    first, second = pair
    bad = blocks(first)[0]
    bad.write_bytes(b"x")
    medium: MemoryMedium = load(second)
    medium.files[bad.relative_to(first).as_posix()] = b"y"
    with pytest.raises(BundleDamagedError) as caught:
        run(first, medium, world)
    assert "third" in caught.value.todo
    assert bad.read_bytes() == b"x"
    assert not list(first.glob(".tmp*"))


def test_a_link_in_place_of_a_block_is_replaced_not_followed(
    pair: tuple[Path, Path], world: World, tmp_path: Path
) -> None:
    first, second = pair
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    bad = blocks(first)[0]
    bad.unlink()
    bad.symlink_to(victim)
    run(first, FolderMedium(second), world)
    assert victim.read_bytes() == b"precious"
    assert not bad.is_symlink()
