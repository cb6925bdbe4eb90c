"""Attacks and accidents while installing: nothing unproven runs, the earlier version stays."""

from __future__ import annotations

import shutil
from datetime import date, timedelta
from pathlib import Path

import pytest

from appliance.bundle import exception
from appliance.bundle.install.preflight import Facts
from appliance.bundle.install.store import Store
from appliance.bundle.trust import Anchor, fingerprint, load_trusted
from appliance.core.errors import (
    ActivationFailedError,
    AuditUnavailableError,
    BundleDamagedError,
    BundleRollbackError,
    BundleUntrustedError,
    ClockUnbelievableError,
    NoEarlierVersionError,
    PreflightFailedError,
    VersionUnhealthyError,
)
from tests.unit.bundle.bundle_attacker import LIMITS, NOW, Earlier, World, load
from tests.unit.bundle.install_bench import (
    WEIGHTS,
    Bench,
    FakeProbe,
    agent,
    content,
    medium_of,
)


def test_install_update_and_rollback(bench: Bench, releases: list[dict[str, bytes]]) -> None:
    one = bench.install(medium_of(releases[0]))
    assert content(bench, one)["wheels/a.whl"] == agent(1)
    bench.clock.advance(60)
    bench.hook = lambda step: bench.clock.advance(7) if step == "begun:health" else None
    two = bench.install(medium_of(releases[1]), "update")
    bench.hook = lambda _step: None
    assert bench.current() == two
    assert bench.state.read_text() == "migrated"
    with pytest.raises(PreflightFailedError, match="saved-state"):
        bench.installer().rollback()
    assert bench.installer().rollback(saved_state=True)["version"] == one
    assert bench.current() == one
    done = [(e.action, e.outcome) for e in bench.recorder.events if e.phase == "outcome"]
    assert done == [
        ("bundle.install", "success"),
        ("bundle.update", "success"),
        ("bundle.rollback", "failure"),
        ("bundle.rollback", "success"),
    ]
    receipt = [e for e in bench.recorder.events if e.phase == "outcome"][1].detail
    assert receipt["root_fingerprint"] == fingerprint(bench.world.roots[0])
    assert receipt["date_source"] == "operator"
    assert receipt["switch_ms"] == 7000
    assert receipt["bytes_proven"] == sum(len(b) for b in content(bench, two).values())


def test_every_block_is_read_once_while_installing(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    medium = medium_of(releases[0])
    bench.install(medium)
    read = [p for p in medium.opened if p.startswith("chunks/")]
    # bundle.json is read once more: it is proven in memory to learn what the preflight needs.
    assert len(read) == len(set(read)) + 1


def test_nothing_runs_before_every_byte_is_proven(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    for path in [p for p in releases[0] if p.startswith("chunks/")]:
        medium = medium_of(releases[0])
        medium.files[path] = medium.files[path][:-1] + bytes([medium.files[path][-1] ^ 1])
        with pytest.raises(BundleDamagedError, match=path):
            bench.install(medium)
        assert bench.runner.ran == []
        assert bench.current() is None
        shutil.rmtree(bench.home.root / "bundle" / "staging", ignore_errors=True)


def test_file_changed_between_check_and_use(bench: Bench, releases: list[dict[str, bytes]]) -> None:
    """CVE-2020-25860: whatever is swapped in after a check, only proven bytes are installed."""
    medium = medium_of(releases[0])
    seen: set[str] = set()

    def swap_after_first_open(path: str) -> None:
        if path in seen and path.startswith("chunks/"):
            medium.files[path] = b"evil" + medium.files[path][4:]
        seen.add(path)

    medium.on_open = swap_after_first_open
    with pytest.raises(BundleDamagedError):
        bench.install(medium)
    medium = medium_of(releases[0])
    version = bench.install(medium)
    for path in list(medium.files):
        medium.files[path] = b"evil"
    assert not any(b.startswith(b"evil") for b in content(bench, version).values())


def test_first_install_needs_the_fingerprint_from_paper(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    with pytest.raises(BundleUntrustedError, match="none given"):
        bench.install(medium_of(releases[0]), fingerprint=None)
    with pytest.raises(BundleUntrustedError, match="no such root"):
        bench.install(medium_of(releases[0]), fingerprint="00" * 32)
    ended = [(e.action, e.outcome) for e in bench.recorder.events if e.phase == "outcome"]
    assert ended == [("bundle.install", "refused")] * 2


def test_downgrade_is_refused_and_needs_a_signed_exception(
    bench: Bench, releases: list[dict[str, bytes]], world: World
) -> None:
    two = bench.install(medium_of(releases[1]))
    older = medium_of(releases[0])
    with pytest.raises(BundleRollbackError):
        bench.install(older, "update")
    last = bench.recorder.events[-1]  # the officers see that somebody tried
    assert (last.action, last.outcome, last.reason) == (
        "bundle.update",
        "refused",
        "bundle-rollback",
    )
    identity = load_trusted(older, Anchor(world.roots[0]), NOW, LIMITS).id
    until = NOW + timedelta(days=7)
    allowed = exception.DowngradeException(identity, "fault in 1.2", NOW, until).to_file()
    signed = exception.sign(allowed, world.root_keys[0])
    with pytest.raises(BundleRollbackError, match="1 signatures"):
        bench.install(older, "update", exception=signed)
    signed = exception.sign(signed, world.root_keys[2])
    changed = signed.replace(b"fault in 1.2", b"other reason")
    with pytest.raises(BundleRollbackError, match="not enough of them good"):
        bench.install(older, "update", exception=changed)
    with pytest.raises(BundleRollbackError, match="names"):
        bench.install(medium_of(releases[2]), "update", exception=signed)
    assert bench.current() == two
    one = bench.install(older, "update", exception=signed)
    assert bench.current() == one
    # The floors were not lowered by the exception.
    with pytest.raises(BundleRollbackError):
        bench.install(older, "update")
    bench.clock.advance(8 * 86_400)
    with pytest.raises(BundleRollbackError, match="it ended"):
        bench.install(older, "update", exception=signed, date=date(2026, 6, 9))


def test_clock_set_back_and_dates_that_cannot_be(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    with pytest.raises(ClockUnbelievableError, match="none given"):
        bench.install(medium_of(releases[0]), date=None)
    with pytest.raises(ClockUnbelievableError, match="within 1 day"):
        bench.install(medium_of(releases[0]), date=date(2026, 7, 1))
    bench.install(medium_of(releases[0]))
    bench.clock.advance(-30 * 86_400)
    with pytest.raises(ClockUnbelievableError, match="already saw"):
        bench.install(medium_of(releases[1]), "update", date=date(2026, 5, 2))


def test_a_bundle_from_the_future_means_a_clock_that_is_behind(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    bench.clock.advance(-60 * 86_400)
    with pytest.raises(ClockUnbelievableError, match="the bundle was made"):
        bench.install(medium_of(releases[0]), date=date(2026, 4, 2))


@pytest.mark.parametrize(
    ("probe", "word"),
    [
        (FakeProbe(free=1000), "space"),
        (FakeProbe(jobs=["runs/7/lock"]), "jobs"),
        (FakeProbe(machine=Facts(distribution="other")), "distribution"),
    ],
)
def test_preflight_names_the_fix(
    bench: Bench, world: World, tmp_path: Path, probe: FakeProbe, word: str
) -> None:
    bench.probe = probe
    machine = {"distribution": "debian", "release": "", "architecture": ""}
    if word != "distribution":
        machine["distribution"] = ""
    medium = world.medium(tmp_path / "m", 1, machine=machine)
    with pytest.raises(PreflightFailedError, match=word) as caught:
        bench.install(medium)
    assert word in caught.value.todo
    assert bench.runner.ran == []


def test_images_need_space_where_the_engine_unpacks_them(
    bench: Bench, world: World, tmp_path: Path
) -> None:
    contents = [{"path": "images/a.oci.tar", "kind": "image", "name": "a"}]
    files = {"images/a.oci.tar": WEIGHTS}
    medium = world.medium(tmp_path / "m", 1, files=files, contents=contents)
    bench.probe.engine_free = 4 * len(WEIGHTS) - 1
    with pytest.raises(PreflightFailedError, match="engine space") as caught:
        bench.install(medium)
    assert "free 1 bytes under /var/lib/docker" in caught.value.todo
    bench.probe.engine_free += 1
    bench.install(medium)


def test_compatibility_tuple_refuses_an_older_driver(
    bench: Bench, world: World, tmp_path: Path
) -> None:
    bench.probe.machine = Facts(driver="535.183.01", kernel="6.1.0-9")
    tuple_ = {"driver": "580", "kernel": "6.1"}
    medium = world.medium(tmp_path / "m", 1, compatibility=tuple_)
    with pytest.raises(PreflightFailedError, match="driver"):
        bench.install(medium)
    bench.probe.machine = Facts(driver="580.95.05", kernel="6.8.0-40")
    assert bench.install(medium)


def test_unhealthy_version_is_rolled_back_by_itself(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    one = bench.install(medium_of(releases[0]))
    bench.state.write_text("written since")
    bench.runner.failing = {"health"}
    with pytest.raises(VersionUnhealthyError, match=one):
        bench.install(medium_of(releases[1]), "update")
    assert bench.current() == one
    assert bench.state.read_text() == "written since"
    assert bench.recorder.events[-1].outcome == "failure"


@pytest.mark.parametrize("failing", ["activate", "migrate"])
def test_failed_activation_or_migration_changes_nothing(
    bench: Bench, releases: list[dict[str, bytes]], failing: str
) -> None:
    one = bench.install(medium_of(releases[0]))
    bench.state.write_text("written since")
    bench.runner.failing = {failing}
    with pytest.raises(ActivationFailedError):
        bench.install(medium_of(releases[1]), "update")
    assert bench.current() == one
    assert bench.state.read_text() == "written since"
    bench.runner.failing = set()
    assert bench.install(medium_of(releases[1]), "update") == bench.current()


def test_work_that_cannot_be_logged_does_not_happen(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    bench.recorder.break_log()
    with pytest.raises(AuditUnavailableError):
        bench.install(medium_of(releases[0]))
    assert bench.current() is None
    assert not (bench.home.root / "bundle" / "staging").exists()


def test_old_versions_are_kept_by_count(bench: Bench, world: World, tmp_path: Path) -> None:
    bench.limits = LIMITS.model_copy(update={"keep_versions": 2})
    for version in range(1, 5):
        bench.install(world.medium(tmp_path / str(version), version), "update")
        bench.clock.advance(60)
    kept = [v.id.split("-")[0] for v in Store(bench.home).versions()]
    assert kept == ["1.4", "1.3"]


def test_rollback_without_an_earlier_version(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    bench.install(medium_of(releases[0]))
    with pytest.raises(NoEarlierVersionError):
        bench.installer().rollback()


def test_difference_bundle_takes_the_rest_from_the_installed_version(
    bench: Bench, world: World, tmp_path: Path
) -> None:
    files = {"models/m.gguf": WEIGHTS, "wheels/a.whl": b"one"}
    base = world.folder(tmp_path / "1", 1, files)
    first = load(tmp_path / "1")
    identity = load_trusted(first, Anchor(world.roots[0]), NOW, LIMITS).id
    changed = files | {"wheels/a.whl": b"two"}
    second = Earlier(base, identity).medium(world, tmp_path / "2", 2, changed)
    moved = sum(len(b) for p, b in second.files.items() if p.startswith("chunks/"))
    assert moved < 2000
    with pytest.raises(PreflightFailedError, match="which this difference completes"):
        bench.install(second)
    one = bench.install(first)
    two = bench.install(second, "update")
    assert content(bench, two)["models/m.gguf"] == files["models/m.gguf"]
    assert content(bench, two)["wheels/a.whl"] == b"two"
    held = bench.home.root / "bundle" / "versions" / one / "content" / "models" / "m.gguf"
    assert held.read_bytes() == files["models/m.gguf"]


def test_difference_bundle_over_a_damaged_base_is_refused(
    bench: Bench, world: World, tmp_path: Path
) -> None:
    files = {"models/m.gguf": WEIGHTS, "wheels/a.whl": b"one"}
    base = world.folder(tmp_path / "1", 1, files)
    first = load(tmp_path / "1")
    identity = load_trusted(first, Anchor(world.roots[0]), NOW, LIMITS).id
    second = Earlier(base, identity).medium(
        world, tmp_path / "2", 2, files | {"wheels/a.whl": b"2"}
    )
    one = bench.install(first)
    held = bench.home.root / "bundle" / "versions" / one / "content" / "models" / "m.gguf"
    held.write_bytes(b"x" + held.read_bytes()[1:])
    with pytest.raises(BundleDamagedError):
        bench.install(second, "update")
    assert bench.current() == one
