"""The commands as people call them: exit codes, one JSON object, nothing secret in it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.bundle.trust import fingerprint
from appliance.cli.main import main
from tests.unit.bundle.bundle_attacker import FILES, World

TODAY = datetime.now(tz=UTC)


class FreshWorld(World):
    """A supplier whose signatures are valid today."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from tests.unit.bundle import bundle_attacker

        monkeypatch.setattr(bundle_attacker, "NOW", TODAY)
        super().__init__()


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> MemoryRecorder:
    made = MemoryRecorder()
    monkeypatch.setattr("appliance.audit.recorder.open_recorder", lambda *_a, **_k: made)
    return made


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> World:
    return FreshWorld(monkeypatch)


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended:
        main([*argv, "--json"])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1, out
    value = json.loads(out)
    assert isinstance(value, dict)
    return int(str(ended.value.code)), value


def test_verify_without_paper_is_no_and_with_it_yes(
    fresh: World, recorder: MemoryRecorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.folder(tmp_path / "m")
    code, found = call(capsys, "bundle", "verify", str(tmp_path / "m"))
    assert (code, found["ok"], found["intact"], found["root_from"]) == (1, False, True, "medium")
    paper = fingerprint(fresh.roots[0])
    code, found = call(capsys, "bundle", "verify", str(tmp_path / "m"), "--fingerprint", paper)
    assert (code, found["ok"], found["root_from"]) == (0, True, "paper")
    outcomes = [(e.action, e.outcome) for e in recorder.events if e.phase == "outcome"]
    assert outcomes == [("bundle.verify", "refused"), ("bundle.verify", "success")]
    said = recorder.events[-1].detail
    assert said["root_fingerprint"] == paper and said["faults"] == 0 and said["unlisted"] == 0


def test_repair_and_the_codes_of_a_damaged_medium(
    fresh: World, recorder: MemoryRecorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fresh.folder(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    paper = fingerprint(fresh.roots[0])
    given = ("--fingerprint", paper)
    bad = min(p for p in (tmp_path / "a" / "chunks").rglob("*") if p.is_file())
    bad.write_bytes(b"x")
    code, found = call(capsys, "bundle", "verify", str(tmp_path / "a"), *given)
    assert code == 1 and [f["error"] for f in found["faults"]] == ["bundle-damaged"]
    pair = (str(tmp_path / "a"), "--from", str(tmp_path / "b"))
    code, found = call(capsys, "bundle", "repair", *pair, *given)
    assert code == 0 and len(found["blocks_copied"]) == 1
    assert call(capsys, "bundle", "verify", str(tmp_path / "a"), *given)[0] == 0


def test_install_inspect_versions_and_rollback(
    fresh: World, recorder: MemoryRecorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    created = (TODAY - timedelta(days=1)).isoformat()
    for number in (1, 2):
        content = FILES | {"docs/a": str(number).encode()}
        fresh.folder(tmp_path / str(number), number, content, created=created)
    day = ("--date", TODAY.date().isoformat())
    one, two = str(tmp_path / "1"), str(tmp_path / "2")
    code, found = call(capsys, "bundle", "install", one, *day)
    assert (code, found["error"]["id"]) == (75, "bundle-untrusted")
    paper = fingerprint(fresh.roots[0])
    code, first = call(capsys, "bundle", "install", one, "--fingerprint", paper, *day)
    assert code == 0 and first["earlier"] is None
    assert call(capsys, "bundle", "inspect", two)[1]["source"] == "medium"
    code, second = call(capsys, "bundle", "update", two, *day)
    assert code == 0 and second["earlier"] == first["version"]
    code, found = call(capsys, "bundle", "update", one, *day)
    assert (code, found["error"]["id"]) == (77, "bundle-rollback")
    code, found = call(capsys, "bundle", "rollback")
    assert code == 0 and found["version"] == first["version"]
    kept = call(capsys, "bundle", "versions")[1]["versions"]
    assert [(v["version"], v["current"]) for v in kept][-1] == (first["version"], True)
    code, found = call(capsys, "bundle", "recover")
    assert code == 0 and found["done"] is None


def test_backup_commands(
    recorder: MemoryRecorder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "models" / "a").write_bytes(b"adapter")
    identity, out = str(tmp_path / "id"), str(tmp_path / "b")
    recipient = call(capsys, "backup", "keygen", identity)[1]["recipient"]
    code, made = call(capsys, "backup", "create", out, "--recipient", recipient)
    assert code == 0 and made["files"] == 1
    assert call(capsys, "backup", "verify", out, "--identity", identity)[0] == 0
    assert call(capsys, "backup", "drill", out, "--identity", identity)[1]["damaged"] == []
    other = str(tmp_path / "id2")
    call(capsys, "backup", "keygen", other)
    code, found = call(capsys, "backup", "verify", out, "--identity", other)
    assert (code, found["error"]["id"]) == (92, "backup-locked")
    target = str(tmp_path / "new")
    assert call(capsys, "backup", "restore", out, "--into", target, "--identity", identity)[0] == 0
    assert (tmp_path / "new" / "models" / "a").read_bytes() == b"adapter"
    code, _ = call(capsys, "backup", "restore", out, "--into", target, "--identity", identity)
    assert code == 93
    secret = Path(identity).read_text().strip()
    assert not any(secret in str(e) or "adapter" in str(e.detail) for e in recorder.events)


def test_ceremony_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = tmp_path / "pass"
    secret.write_text("a passphrase\n")
    given = ("--passphrase-file", str(secret))
    paths = [str(tmp_path / n) for n in ("a", "b", "c")]
    for path in paths:
        assert call(capsys, "bundle", "keys", "new", path, *given)[0] == 0
    root = str(tmp_path / "1.root.json")
    holders = [w for p in paths for w in ("--root-key", p)]
    call(capsys, "bundle", "keys", "root", *holders, "--targets-key", paths[0], "--out", root)
    assert call(capsys, "bundle", "keys", "show", root)[0] == 1
    for path in paths[:2]:
        call(capsys, "bundle", "keys", "sign", root, "--key", path, *given)
    code, found = call(capsys, "bundle", "keys", "show", root)
    assert code == 0 and found["signatures"] == 2
    assert found["fingerprint"].replace(" ", "") == fingerprint(Path(root).read_bytes())
