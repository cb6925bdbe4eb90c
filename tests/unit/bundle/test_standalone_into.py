"""Taking the agent from a proven medium onto a bare machine."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from appliance.bundle.build import STANDALONE
from appliance.bundle.trust import fingerprint
from tests.unit.bundle.bundle_attacker import World


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_bundle_into", STANDALONE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


verifier = _load()


def _take(medium: Path, into: Path, paper: str) -> int:
    arguments = [str(medium), "--date", "2026-06-01", "--into", str(into)]
    return int(verifier.main([*arguments, "--fingerprint", paper]))


@pytest.fixture
def medium(world: World, tmp_path: Path) -> Path:
    where = tmp_path / "medium"
    where.mkdir()
    world.folder(where)
    return where


def test_every_file_that_is_written_is_the_signed_one(
    world: World, medium: Path, tmp_path: Path
) -> None:
    into = tmp_path / "into"
    assert _take(medium, into, fingerprint(world.roots[0])) == 0
    listing: dict[str, Any] = json.loads((into / "metadata" / "targets.json").read_bytes())
    targets = listing["signed"]["targets"]
    written = [p for p in (into / "content").rglob("*") if p.is_file()]
    assert written
    for path in written:
        name = path.relative_to(into / "content").as_posix()
        assert hashlib.sha256(path.read_bytes()).hexdigest() == targets[name]["hashes"]["sha256"]
        assert path.stat().st_mode & 0o111 == 0
    left_out = targets.keys() - {p.relative_to(into / "content").as_posix() for p in written}
    assert all(name.startswith(("models/", "images/")) for name in left_out)


def test_nothing_is_written_from_a_medium_that_is_not_trusted(
    world: World, medium: Path, tmp_path: Path
) -> None:
    assert _take(medium, tmp_path / "into", "0" * 64) == 1
    damaged = next(p for p in (medium / "chunks").rglob("*") if p.is_file())
    damaged.write_bytes(b"x" + damaged.read_bytes()[1:])
    assert _take(medium, tmp_path / "into", fingerprint(world.roots[0])) == 1
    assert not (tmp_path / "into").exists()


def test_a_folder_with_something_in_it_is_left_alone(
    world: World, medium: Path, tmp_path: Path
) -> None:
    (tmp_path / "into").mkdir()
    (tmp_path / "into" / "mine").write_text("mine", encoding="utf-8")
    assert _take(medium, tmp_path / "into", fingerprint(world.roots[0])) == 1
    assert [p.name for p in (tmp_path / "into").iterdir()] == ["mine"]


def test_a_block_changed_between_check_and_copy_is_refused(
    world: World, medium: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proven = verifier.prove

    def prove_then_change(where: Any, path: str, length: int, wanted: str) -> str | None:
        why: str | None = proven(where, path, length, wanted)
        block = medium / path
        if path.startswith("chunks/") and length:
            block.write_bytes(bytes([block.read_bytes()[0] ^ 1]) + block.read_bytes()[1:])
        return why

    monkeypatch.setattr(verifier, "prove", prove_then_change)
    assert _take(medium, tmp_path / "into", fingerprint(world.roots[0])) == 1
