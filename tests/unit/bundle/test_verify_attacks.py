"""Each attack on a medium, by name. What is refused is refused before anything is used."""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from appliance.bundle import ceremony, trust
from appliance.bundle.medium import Found
from appliance.bundle.trust import Anchor, load_trusted
from appliance.bundle.tufapi import CryptoSigner
from appliance.bundle.verify import Report, verify
from appliance.bundle.writer import Signers, metadata_files
from appliance.core.errors import (
    BundleDamagedError,
    BundleExpiredError,
    BundleRollbackError,
    BundleUntrustedError,
    MediumUnreadableError,
)
from appliance.core.progress import NoProgress
from tests.unit.bundle.bundle_attacker import LIMITS, NOW, MemoryMedium, World, load


def check(medium: MemoryMedium, world: World, anchor: Anchor | None = None) -> Report:
    anchor = anchor or Anchor(world.roots[0])
    return verify(medium, load_trusted(medium, anchor, NOW, LIMITS), LIMITS, NoProgress())


def chunks(medium: MemoryMedium) -> list[str]:
    return sorted(p for p in medium.files if p.startswith("chunks/"))


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_a_good_medium_is_proven_completely(medium: MemoryMedium, world: World) -> None:
    report = check(medium, world)
    assert report.ok, report.to_dict()
    proven = [p for p in medium.files if not p.startswith("metadata/")]
    assert report.chunks == len(proven)
    assert report.bytes == sum(len(medium.files[p]) for p in proven)


def test_no_block_is_read_twice(medium: MemoryMedium, world: World) -> None:
    check(medium, world)
    read = [p for p in medium.opened if p.startswith("chunks/")]
    assert sorted(read) == sorted(set(read)) == chunks(medium)


def test_bit_flip_in_every_block_names_exactly_that_block(
    pristine: Callable[[], MemoryMedium], world: World
) -> None:
    for path in [*chunks(pristine()), "verify_bundle.py"]:
        medium = pristine()
        medium.files[path] = flip(medium.files[path], len(medium.files[path]) // 2)
        report = check(medium, world)
        assert [f.path for f in report.faults] == [path]
        assert report.faults[0].error == "bundle-damaged"


@pytest.mark.parametrize(
    "name", ["1.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"]
)
def test_bit_flip_in_metadata(medium: MemoryMedium, world: World, name: str) -> None:
    path = f"metadata/{name}"
    for at in (0, len(medium.files[path]) // 2, len(medium.files[path]) - 2):
        broken = MemoryMedium(dict(medium.files) | {path: flip(medium.files[path], at)})
        with pytest.raises((BundleUntrustedError, BundleDamagedError)):
            check(broken, world)


def test_truncated_block(medium: MemoryMedium, world: World) -> None:
    path = chunks(medium)[0]
    medium.files[path] = medium.files[path][:-1]
    report = check(medium, world)
    assert "it ends after" in report.faults[0].found


def test_truncated_metadata(medium: MemoryMedium, world: World) -> None:
    medium.files["metadata/1.targets.json"] = medium.files["metadata/1.targets.json"][:-5]
    with pytest.raises(BundleDamagedError):
        check(medium, world)


def test_block_with_bytes_appended(medium: MemoryMedium, world: World) -> None:
    path = chunks(medium)[0]
    medium.files[path] += b"x"
    assert "goes on after" in check(medium, world).faults[0].found


def test_endless_block(medium: MemoryMedium, world: World) -> None:
    path = chunks(medium)[0]
    medium.endless.add(path)
    assert [f.path for f in check(medium, world).faults] == [path]


def test_endless_metadata(medium: MemoryMedium, world: World) -> None:
    medium.endless.add("metadata/timestamp.json")
    with pytest.raises(BundleDamagedError, match="endless"):
        check(medium, world)


def test_extra_file(medium: MemoryMedium, world: World) -> None:
    medium.files["autorun.inf"] = b"[autorun]"
    medium.files["chunks/00/extra"] = b"x"
    medium.files["metadata/9.targets.json"] = b"{}"
    report = check(medium, world)
    assert not report.ok
    assert report.strangers == [
        "file autorun.inf",
        "file chunks/00/extra",
        "file metadata/9.targets.json",
    ] or set(report.strangers) >= {"file autorun.inf", "file chunks/00/extra"}


def test_missing_block(medium: MemoryMedium, world: World) -> None:
    path = chunks(medium)[3]
    del medium.files[path]
    assert [(f.path, f.found) for f in check(medium, world).faults] == [
        (path, f"block {path}: it is missing")
    ]


def test_swapped_blocks(medium: MemoryMedium, world: World) -> None:
    full = [p for p in chunks(medium) if len(medium.files[p]) == 4096]
    a, b = full[0], full[1]
    medium.files[a], medium.files[b] = medium.files[b], medium.files[a]
    assert {f.path for f in check(medium, world).faults} == {a, b}


def test_symlink_in_place_of_a_block(medium: MemoryMedium, world: World) -> None:
    path = chunks(medium)[0]
    del medium.files[path]
    medium.strange[path] = Found(path, "link")
    report = check(medium, world)
    assert report.faults[0].error == "bundle-foreign-file"
    assert f"link {path}" in report.strangers


def test_stray_symlink_and_device(medium: MemoryMedium, world: World) -> None:
    medium.strange["a"] = Found("docs", "link")
    medium.strange["b"] = Found("zero", "special")
    assert set(check(medium, world).strangers) == {"link docs", "special zero"}


def test_folders_that_systems_make_are_named_not_refused(
    medium: MemoryMedium, world: World
) -> None:
    medium.files["System Volume Information/x"] = b"1"
    report = check(medium, world)
    assert report.ok
    assert report.tolerated == ["System Volume Information"]


def test_older_but_validly_signed_bundle(world: World, tmp_path: Path) -> None:
    older = world.medium(tmp_path / "1", 1)
    newer = world.medium(tmp_path / "2", 2)
    accepted = load_trusted(newer, Anchor(world.roots[0]), NOW, LIMITS)
    floor = Anchor(world.roots[0], accepted.timestamp, accepted.snapshot)
    with pytest.raises(BundleRollbackError):
        check(older, world, floor)
    assert check(newer, world, floor).ok


def test_same_version_signed_twice_is_refused(world: World, tmp_path: Path) -> None:
    first = world.medium(tmp_path / "1", 5)
    other = world.medium(tmp_path / "2", 5, files={"a": b"other"})
    accepted = load_trusted(first, Anchor(world.roots[0]), NOW, LIMITS)
    with pytest.raises(BundleRollbackError):
        check(other, world, Anchor(world.roots[0], accepted.timestamp, accepted.snapshot))


@pytest.mark.parametrize("name", ["timestamp.json", "snapshot.json", "targets.json"])
def test_mix_of_two_releases(world: World, tmp_path: Path, name: str) -> None:
    one, two = world.medium(tmp_path / "1", 1), world.medium(tmp_path / "2", 2, files={"a": b"b"})
    prefix = {True: "metadata/", False: "metadata/2."}[name == "timestamp.json"]
    older = {True: "metadata/", False: "metadata/1."}[name == "timestamp.json"]
    two.files[prefix + name] = one.files[older + name]
    with pytest.raises((BundleDamagedError, BundleUntrustedError, BundleRollbackError)):
        check(two, world)


def test_blocks_of_another_release(world: World, tmp_path: Path) -> None:
    one = world.medium(tmp_path / "1", 1)
    two = world.medium(tmp_path / "2", 2, files={"a": b"b" * 5000})
    two.files = {p: d for p, d in two.files.items() if p.startswith("metadata/")} | {
        p: d for p, d in one.files.items() if not p.startswith("metadata/")
    }
    report = check(two, world)
    assert report.faults and report.strangers


def test_expired_metadata_is_a_freeze(medium: MemoryMedium, world: World) -> None:
    later = NOW + timedelta(days=LIMITS.timestamp_days, seconds=1)
    with pytest.raises(BundleExpiredError):
        load_trusted(medium, Anchor(world.roots[0]), later, LIMITS)
    with pytest.raises(BundleExpiredError):
        load_trusted(medium, Anchor(world.roots[0]), NOW + timedelta(days=3650), LIMITS)


def test_expired_metadata_of_the_accepted_release(medium: MemoryMedium, world: World) -> None:
    accepted = load_trusted(medium, Anchor(world.roots[0]), NOW, LIMITS)
    floor = Anchor(world.roots[0], accepted.timestamp, accepted.snapshot)
    later = NOW + timedelta(days=LIMITS.timestamp_days, seconds=1)
    with pytest.raises(BundleExpiredError):
        load_trusted(medium, floor, later, LIMITS)


def test_unknown_key(medium: MemoryMedium, world: World) -> None:
    with pytest.raises(BundleUntrustedError):
        check(medium, world, Anchor(World().roots[0]))


def test_metadata_signed_by_a_stranger(world: World, tmp_path: Path) -> None:
    repository = world.folder(tmp_path)
    stranger = CryptoSigner.generate_ed25519()
    forged = Signers(world.roots, stranger, stranger, stranger)
    medium = load(tmp_path)
    medium.files |= metadata_files(repository.entries, 1, forged, NOW, LIMITS)
    with pytest.raises(BundleUntrustedError):
        check(medium, world)


def test_one_of_three_signatures_on_a_new_root(medium: MemoryMedium, world: World) -> None:
    one = world.root(world.root_keys, world.root_keys[:1])
    assert ceremony.complete(one, world.roots[0])[0] is False
    medium.files["metadata/2.root.json"] = one
    with pytest.raises(BundleUntrustedError):
        check(medium, world)


def test_one_of_three_signatures_on_the_first_root() -> None:
    world = World()
    role = [world.release.public_key]
    keys = ceremony.RoleKeys([k.public_key for k in world.root_keys], role, role, role)
    lone = ceremony.sign(ceremony.new_root(keys, NOW, 365), world.root_keys[0])
    with pytest.raises(BundleUntrustedError):
        ceremony.require_chain([lone])
    with pytest.raises(BundleUntrustedError):
        load_trusted(MemoryMedium({}), Anchor(lone), NOW, LIMITS)


def test_one_holder_signing_twice_is_one_signature(medium: MemoryMedium, world: World) -> None:
    twice = world.root(world.root_keys, [world.root_keys[0], world.root_keys[0]])
    medium.files["metadata/2.root.json"] = twice
    with pytest.raises(BundleUntrustedError):
        check(medium, world)


def test_revoked_key(tmp_path: Path) -> None:
    world = World()
    thief = world.release
    world.release = CryptoSigner.generate_ed25519()
    world.roots.append(world.root(world.root_keys, world.root_keys[1:]))
    good = world.medium(tmp_path / "good", 2)
    assert check(good, world).trusted.root_version == 2
    stolen = Signers(world.roots, thief, thief, thief)
    repository = world.folder(tmp_path / "bad", 3)
    medium = load(tmp_path / "bad")
    medium.files |= metadata_files(repository.entries, 3, stolen, NOW, LIMITS)
    with pytest.raises(BundleUntrustedError):
        check(medium, world)


def test_root_rotation_across_five_versions(tmp_path: Path) -> None:
    world = World()
    for _ in range(5):
        fresh = [*world.root_keys[1:], CryptoSigner.generate_ed25519()]
        world.release = CryptoSigner.generate_ed25519()
        world.roots.append(world.root(fresh, [*world.root_keys[1:], fresh[-1]]))
        world.root_keys = fresh
    medium = world.medium(tmp_path, 9)
    report = check(medium, world)
    assert report.ok and report.trusted.root_version == 6
    assert check(medium, world, Anchor(world.roots[3])).ok
    for gap in range(2, 7):
        broken = MemoryMedium(dict(medium.files))
        del broken.files[f"metadata/{gap}.root.json"]
        with pytest.raises((BundleUntrustedError, BundleDamagedError)):
            check(broken, world)


def test_a_root_that_skips_a_version_does_not_hide_among_older_ones(tmp_path: Path) -> None:
    world = World()
    world.roots.append(world.root(world.root_keys, world.root_keys[:2]))
    medium = world.medium(tmp_path, 2)
    medium.files["metadata/1.root.json"] = World().roots[0]
    report = check(medium, world, Anchor(world.roots[1]))
    assert [f.error for f in report.faults] == ["bundle-untrusted"]


def test_another_root_of_the_held_version(medium: MemoryMedium, world: World) -> None:
    medium.files["metadata/1.root.json"] = World().roots[0]
    with pytest.raises(BundleUntrustedError, match="another file of the same version"):
        check(medium, world)


def test_medium_pulled_out_in_the_middle(medium: MemoryMedium, world: World) -> None:
    for path in chunks(medium)[5:]:
        medium.failing[path] = (0, errno.ENODEV)
    report = check(medium, world)
    assert report.chunks == 5 + 1
    assert all(f.error == "medium-unreadable" for f in report.faults)
    assert "the medium is gone (ENODEV)" in report.faults[0].found


def test_read_error_names_the_block(medium: MemoryMedium, world: World) -> None:
    path = chunks(medium)[2]
    medium.failing[path] = (100, errno.EIO)
    assert [f.path for f in check(medium, world).faults] == [path]


def test_read_error_in_metadata(medium: MemoryMedium, world: World) -> None:
    medium.failing["metadata/timestamp.json"] = (0, errno.EIO)
    with pytest.raises(MediumUnreadableError):
        check(medium, world)


def test_fingerprint_from_paper(medium: MemoryMedium, world: World) -> None:
    paper = trust.grouped(trust.fingerprint(world.roots[0])).upper()
    assert trust.anchor_by_fingerprint(medium, paper, LIMITS) == world.roots[0]
    with pytest.raises(BundleUntrustedError):
        trust.anchor_by_fingerprint(medium, "00" * 32, LIMITS)
