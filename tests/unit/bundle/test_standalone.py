"""The standalone verifier against the same media, and its signature code against another's."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundle.build import STANDALONE
from appliance.bundle.medium import FolderMedium
from appliance.bundle.trust import Anchor, fingerprint, load_trusted
from appliance.bundle.tufapi import CryptoSigner
from appliance.bundle.verify import verify
from appliance.bundle.writer import Signers, metadata_files
from appliance.core.errors import ApplianceError
from appliance.core.progress import NoProgress
from appliance.core.settings.bundle import BundleSettings
from tests.unit.bundle.bundle_attacker import LIMITS, NOW, World


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_bundle", STANDALONE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


verifier = _load()


@pytest.fixture(scope="module")
def good(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("good")
    world.folder(where)
    return where


def ask(medium: Path, world: World, date: str = "2026-06-01") -> int:
    paper = fingerprint(world.roots[0])
    return int(verifier.main([str(medium), "--fingerprint", paper, "--date", date]))


def agent_says(medium: Path, world: World) -> int:
    try:
        trusted = load_trusted(FolderMedium(medium), Anchor(world.roots[0]), NOW, LIMITS)
        report = verify(FolderMedium(medium), trusted, LIMITS, NoProgress())
    except ApplianceError:
        return 1
    return 0 if report.ok else 1


def block(medium: Path) -> Path:
    return min(p for p in (medium / "chunks").rglob("*") if p.is_file())


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(bytes(data))


def link_for(path: Path) -> None:
    """Put a link to the very same bytes in place of a block."""
    elsewhere = path.parents[3] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def forge(medium: Path) -> None:
    stranger, world = CryptoSigner.generate_ed25519(), World()
    forged = Signers(world.roots, stranger, stranger, stranger)
    for path, data in metadata_files([], 1, forged, NOW, LIMITS).items():
        if "root" not in path:
            (medium / path).write_bytes(data)


ATTACKS: dict[str, Callable[[Path], object]] = {
    "bit_flip_in_a_block": lambda m: flip(block(m), 0),
    "bit_flip_in_the_verifier": lambda m: flip(m / "verify_bundle.py", 3),
    "bit_flip_in_the_timestamp": lambda m: flip(m / "metadata/timestamp.json", 60),
    "bit_flip_in_the_snapshot": lambda m: flip(m / "metadata/1.snapshot.json", 60),
    "bit_flip_in_the_targets": lambda m: flip(m / "metadata/1.targets.json", 900),
    "bit_flip_in_the_root": lambda m: flip(m / "metadata/1.root.json", 700),
    "truncation": lambda m: os.truncate(block(m), 10),
    "bytes_appended": lambda m: block(m).write_bytes(block(m).read_bytes() + b"x"),
    "missing_block": lambda m: block(m).unlink(),
    "extra_file": lambda m: (m / "autorun.inf").write_bytes(b"x"),
    "extra_folder": lambda m: (m / "extra").mkdir(),
    "extra_file_deep": lambda m: (block(m).parent / "x").write_bytes(b"x"),
    "symlink_for_a_block": lambda m: link_for(block(m)),
    "stray_symlink": lambda m: (m / "docs").symlink_to("/etc"),
    "fifo": lambda m: os.mkfifo(m / "pipe"),
    "forged_metadata": forge,
    "missing_timestamp": lambda m: (m / "metadata/timestamp.json").unlink(),
    "endless_timestamp": lambda m: os.truncate(m / "metadata/timestamp.json", 1 << 20),
    "stray_metadata": lambda m: (m / "metadata/7.targets.json").write_bytes(b"{}"),
    "root_that_does_not_follow": lambda m: (m / "metadata/2.root.json").write_bytes(
        World().roots[0]
    ),
}


def test_both_verifiers_accept_a_good_medium(
    good: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    assert agent_says(good, world) == ask(good, world) == 0
    out = capsys.readouterr().out
    assert "VERIFIED" in out
    printed = re.sub(r"[^0-9a-f]", "", out.split("judged")[0].split(":")[1])
    assert printed == fingerprint(world.roots[0])


@pytest.mark.parametrize("attack", ATTACKS)
def test_both_verifiers_refuse(attack: str, good: Path, world: World, tmp_path: Path) -> None:
    medium = tmp_path / "medium"
    shutil.copytree(good, medium)
    ATTACKS[attack](medium)
    assert agent_says(medium, world) == 1
    assert ask(medium, world) == 1


def test_expired_and_unknown_root(good: Path, world: World) -> None:
    assert ask(good, world, "2027-06-02") == 1
    assert ask(good, World()) == 1


def test_without_paper_the_answer_is_no(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verifier.main([str(good), "--date", "2026-06-01"]) == 1
    assert "NOT YET TRUSTED" in capsys.readouterr().out


def test_root_rotation_across_five_versions_standalone(tmp_path: Path) -> None:
    world = World()
    for _ in range(5):
        fresh = [*world.root_keys[1:], CryptoSigner.generate_ed25519()]
        world.roots.append(world.root(fresh, [*world.root_keys[1:], fresh[-1]]))
        world.root_keys = fresh
    world.folder(tmp_path, 4)
    assert ask(tmp_path, world) == 0
    (tmp_path / "metadata" / "3.root.json").unlink()
    assert ask(tmp_path, world) == 1


def test_path_out_of_the_medium_is_refused_even_when_signed(world: World, tmp_path: Path) -> None:
    for path in ("../x", "/etc/x", "a//b", "a/./b", "a\\b", "a\nb"):
        with pytest.raises(verifier.RefusedError):
            verifier.check_path(path)
    assert verifier.check_path("debs/libc6_2.36-9+deb12u1_amd64.deb")


def judged(public: bytes, message: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@settings(max_examples=25, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=300), data=st.data())
def test_ed25519_agrees_with_the_library(seed: bytes, message: bytes, data: st.DataObject) -> None:
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert verifier.ed25519_ok(public, message, signature)
    at = data.draw(st.integers(0, 511))
    broken = bytearray(signature)
    broken[at // 8] ^= 1 << (at % 8)
    assert not verifier.ed25519_ok(public, message, bytes(broken))
    assert not judged(public, message, bytes(broken))


def test_ed25519_refuses_a_signature_with_s_not_reduced() -> None:
    """RFC 8032, 5.1.7: S must be below the group order, or one signature has many forms."""
    key = Ed25519PrivateKey.from_private_bytes(b"\1" * 32)
    public, signature = key.public_key().public_bytes_raw(), key.sign(b"m")
    larger = int.from_bytes(signature[32:], "little") + verifier.L
    forged = signature[:32] + larger.to_bytes(32, "little")
    assert not verifier.ed25519_ok(public, b"m", forged)
    assert not judged(public, b"m", forged)


def test_dates_of_the_library_are_understood() -> None:
    signed = {"expires": "2026-06-01T00:00:00Z"}
    verifier.not_expired(signed, datetime(2026, 5, 31), "x")  # noqa: DTZ001 - naive on purpose
    with pytest.raises(verifier.RefusedError):
        verifier.not_expired(signed, datetime(2026, 6, 1), "x")  # noqa: DTZ001 - the same


def test_both_verifiers_tolerate_the_same_folders() -> None:
    assert BundleSettings().tolerated_names == verifier.TOLERATED


def test_a_date_that_is_none_is_wrong_use(
    good: Path, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        ask(good, world, "yesterday")
    assert ended.value.code == 2
    assert "yesterday" in capsys.readouterr().err
