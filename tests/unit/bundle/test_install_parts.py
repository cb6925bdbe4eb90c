"""The parts of install that touch the machine: programs, state copies, probes, media."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.bundle.install.lifecycle import Lifecycle, ProcessRunner, copy_state, restore_state
from appliance.bundle.install.preflight import Facts, MachineProbe, tuple_checks
from appliance.bundle.install.store import Store, Version
from appliance.bundle.install.transaction import Journal, Transaction
from appliance.bundle.medium import FolderMedium
from appliance.bundle.model import Manifest, entry_of, parse_manifest
from appliance.bundle.paths import collisions, safe_path, why_refused
from appliance.bundle.trust import Anchor, load_trusted
from appliance.bundle.verify import verify
from appliance.core.canonical import canonical_json
from appliance.core.errors import (
    ActivationFailedError,
    BundleForeignFileError,
    BundleFormatError,
    StateDamagedError,
    ToolMissingError,
)
from appliance.core.home import Home
from appliance.core.progress import NoProgress
from appliance.core.settings.bundle import BundleSettings
from tests.unit.bundle.bundle_attacker import LIMITS, NOW, World

MANIFEST = {
    "name": "n",
    "version": "1",
    "sequence": 1,
    "created": "2026-01-01T00:00:00Z",
    "machine": {"distribution": "", "release": ""},
}


def test_programs_run_without_the_users_settings(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid")
    monkeypatch.setenv("PYTHONPATH", "/evil")
    script = "import os; print(sorted(k for k in os.environ if k != 'LC_CTYPE'))"
    runner, log = ProcessRunner(home), tmp_path / "log"
    assert runner.run([sys.executable, "-I", "-c", script], tmp_path, log, 30) == 0
    assert "PROXY" not in log.read_text() and "PYTHONPATH" not in log.read_text()
    assert "PIP_NO_INDEX" in log.read_text()


def test_a_program_that_hangs_or_is_missing(home: Home, tmp_path: Path) -> None:
    runner = ProcessRunner(home)
    assert runner.run(["sleep", "60"], tmp_path, tmp_path / "log", 0.2) == 124
    with pytest.raises(ToolMissingError):
        runner.run(["no-such-program"], tmp_path, tmp_path / "log", 1)


class Noting:
    """Runs nothing: keeps what would run."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, ...]] = []

    def run(self, argv: Sequence[str], cwd: Path, log: Path, timeout: float) -> int:
        self.ran.append(tuple(argv))
        return int("bad.oci.tar" in argv[-1])


@pytest.mark.parametrize(
    ("images", "ends"), [([], []), (["one"], ["one"]), (["bad", "one"], ["bad"])]
)
def test_the_images_of_a_bundle_are_loaded_by_its_own_agent(
    home: Home, tmp_path: Path, images: list[str], ends: list[str]
) -> None:
    version = Version(tmp_path / "v")
    contents = [{"path": f"images/{n}.oci.tar", "kind": "image", "name": n} for n in images]
    contents.append({"path": "docs/x", "kind": "document", "name": "x"})
    activate = [{"kind": "images", "into": "venv"}]
    value = MANIFEST | {"contents": contents, "lifecycle": {"activate": activate}}
    version.content.mkdir(parents=True)
    (version.content / "bundle.json").write_bytes(canonical_json(value))
    runner = Noting()
    lifecycle = Lifecycle(home, version, tmp_path / "log", runner, LIMITS)
    refused = pytest.raises(ActivationFailedError) if "bad" in images else nullcontext()
    with refused:
        lifecycle.activate()
    python = str(version.activated / "venv" / "bin" / "python")
    assert runner.ran == [
        (
            *(python, "-m", "appliance.bundle.images", "load"),
            str(version.content / "images" / f"{name}.oci.tar"),
        )
        for name in ends
    ]


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (0, "1 checks passed"),
        (1, "appliance doctor ended with 1"),
        (124, r"appliance doctor was not done within bundle.health_timeout_s \(180 s\)"),
    ],
)
def test_a_slow_health_check_names_the_setting(
    home: Home, tmp_path: Path, status: int, told: str
) -> None:
    version = Version(tmp_path / "v")
    version.content.mkdir(parents=True)
    life = {"health": [["{version}/bin/appliance", "doctor", "--json"]]}
    (version.content / "bundle.json").write_bytes(canonical_json(MANIFEST | {"lifecycle": life}))

    class Ending(Noting):
        def run(self, argv: Sequence[str], cwd: Path, log: Path, timeout: float) -> int:
            assert timeout == 180
            return status

    found = Lifecycle(home, version, tmp_path / "log", Ending(), BundleSettings()).healthy()
    assert found[0] is (status == 0)
    assert re.fullmatch(told, found[1])


def test_a_slow_activation_names_the_setting(home: Home, tmp_path: Path) -> None:
    version = Version(tmp_path / "v")
    version.content.mkdir(parents=True)
    life = {"activate": [{"kind": "command", "argv": ["sleep", "60"]}]}
    (version.content / "bundle.json").write_bytes(canonical_json(MANIFEST | {"lifecycle": life}))
    limits = BundleSettings(activation_timeout_s=0.2)
    lifecycle = Lifecycle(home, version, tmp_path / "log", ProcessRunner(home), limits)
    with pytest.raises(ActivationFailedError, match=r"bundle\.activation_timeout_s \(0\.2 s\)"):
        lifecycle.activate()


def test_state_is_copied_and_put_back(home: Home, tmp_path: Path) -> None:
    path = home.root / "registry" / "r.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("pragma journal_mode=wal")
        database.execute("create table t (x)")
        database.execute("insert into t values (1)")
    (path.parent / "settings.json").write_text("{}")
    assert copy_state(home, ("registry/*",), tmp_path / "saved") >= 2
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("delete from t")
    (path.parent / "settings.json").write_text("changed")
    restore_state(home, tmp_path / "saved")
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("select x from t").fetchall() == [(1,)]
    assert (path.parent / "settings.json").read_text() == "{}"


def test_state_patterns_stay_below_the_home(home: Home, tmp_path: Path) -> None:
    for pattern in ("../*", "/etc/*", "a/../../b"):
        with pytest.raises(BundleFormatError):
            copy_state(home, (pattern,), tmp_path / "saved")


def test_running_jobs_are_those_whose_lock_is_held(home: Home) -> None:
    (home.runs / "7").mkdir(parents=True)
    lock = home.runs / "7" / "lock"
    lock.write_bytes(b"")
    assert MachineProbe(home).running_jobs() == []
    with lock.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert MachineProbe(home).running_jobs() == ["runs/7/lock"]
    assert MachineProbe(home).running_jobs() == []


def test_the_probe_knows_this_machine(home: Home) -> None:
    facts = MachineProbe(home).facts()
    assert facts.kernel == os.uname().release
    assert facts.python == f"3.{sys.version_info[1]}"
    assert MachineProbe(home).free_bytes(home.root / "not" / "there") > 0


def test_tuple_checks_name_what_is_older() -> None:
    manifest = Manifest.model_validate(MANIFEST | {"compatibility": {"kernel": "6.8"}})
    for kernel, ok in (("6.8.0-45-generic", True), ("6.12.1", True), ("5.15.0", False)):
        assert [c.ok for c in tuple_checks(manifest, Facts(kernel=kernel))] == [ok]
    assert tuple_checks(manifest, replace(Facts(), kernel="")) == []


def test_a_damaged_journal_is_an_error_not_a_guess(home: Home) -> None:
    store = Store(home)
    journal = Journal(store)
    journal.enter(Transaction("update", "b", None, "t"), "copy")
    assert journal.read() == Transaction("update", "b", None, "t", "copy")
    store.journal.write_bytes(canonical_json({"phase": "switch"}))
    with pytest.raises(StateDamagedError):
        journal.read()
    value = {"kind": "k", "bundle": "b", "source": None, "target": "t", "phase": "other"}
    store.journal.write_bytes(canonical_json(value))
    with pytest.raises(StateDamagedError):
        journal.read()


@pytest.mark.parametrize(
    "path",
    ["", "/a", "../a", "a/../b", "a//b", "a/", "./a", "a\\b", "a\0b", "a\nb", "nul", "x/COM1.txt",
     "a.", "a ", "é", "a:b", "x" * 300],
)  # fmt: skip
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(BundleFormatError):
        safe_path(path)


@given(st.text(max_size=60))
def test_an_accepted_path_stays_inside(path: str) -> None:
    if why_refused(path) is None:
        joined = os.path.normpath(os.path.join("/base", path))  # noqa: PTH118 - as an attacker would
        assert joined.startswith("/base/")


def test_paths_that_fall_together() -> None:
    assert collisions(["a/b", "A/B"]) and collisions(["a", "a/b"])
    assert not collisions(["a/b", "a/c", "ab"])


@pytest.mark.parametrize(
    "custom",
    [
        {"chunk_bytes": 0, "chunks": ["0" * 64]},
        {"chunk_bytes": 4, "chunks": ["0" * 64]},
        {"chunk_bytes": 4, "chunks": ["0" * 64] * 4},
        {"chunk_bytes": 4, "chunks": ["0" * 63, "0" * 64, "0" * 64]},
        {"chunk_bytes": 4, "chunks": "000"},
        {"chunk_bytes": "4", "chunks": ["0" * 64]},
        {"absent": [1]},
        {"absent": [-1]},
        {"setuid": True},
    ],
)
def test_chunk_lists_that_do_not_cover_the_file(custom: dict[str, object]) -> None:
    with pytest.raises(BundleFormatError):
        entry_of("a", 10, "0" * 64, custom)


@given(st.integers(0, 500), st.integers(1, 100))
def test_chunks_cover_the_file_exactly(length: int, size: int) -> None:
    count = max(1, -(-length // size))
    entry = entry_of("a", length, "0" * 64, {"chunk_bytes": size, "chunks": ["0" * 64] * count})
    assert sum(c.length for c in entry.chunks) == length
    assert [c.offset for c in entry.chunks] == [i * size for i in range(count)]


def test_manifest_with_an_unknown_key_or_version() -> None:
    assert parse_manifest(canonical_json(MANIFEST)).sequence == 1
    for more in ({"extra": 1}, {"version": "../1"}, {"sequence": 0}, {"format": 2}):
        with pytest.raises(BundleFormatError):
            parse_manifest(canonical_json({**MANIFEST, **more}))


def test_a_folder_that_becomes_a_link_is_not_followed(world: World, tmp_path: Path) -> None:
    world.folder(tmp_path / "m")
    medium = FolderMedium(tmp_path / "m")
    (tmp_path / "m" / "chunks").rename(tmp_path / "elsewhere")
    (tmp_path / "m" / "chunks").symlink_to(tmp_path / "elsewhere")
    trusted = load_trusted(medium, Anchor(world.roots[0]), NOW, LIMITS)
    report = verify(medium, trusted, LIMITS, NoProgress())
    assert report.chunks == 1  # the standalone verifier only, which is no chunk
    assert "link chunks" in report.strangers


def test_a_fifo_in_place_of_a_file_does_not_stop_us(world: World, tmp_path: Path) -> None:
    world.folder(tmp_path / "m")
    (tmp_path / "m" / "metadata" / "timestamp.json").unlink()
    os.mkfifo(tmp_path / "m" / "metadata" / "timestamp.json")
    with pytest.raises(BundleForeignFileError):
        load_trusted(FolderMedium(tmp_path / "m"), Anchor(world.roots[0]), NOW, LIMITS)
