"""Attacks and accidents while installing: nothing unproven runs, the earlier version stays."""

from __future__ import annotations

import errno
import os
import random
import resource
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from pathlib import Path

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.bundle import exception
from appliance.bundle.install.installer import Installer, Request, Tools
from appliance.bundle.install.preflight import Facts
from appliance.bundle.install.store import Store
from appliance.bundle.trust import Anchor, fingerprint, load_trusted
from appliance.core.clock import FixedClock
from appliance.core.errors import (
    ActivationFailedError,
    AuditUnavailableError,
    BundleDamagedError,
    BundleRollbackError,
    BundleUntrustedError,
    ClockUnbelievableError,
    DiskFullError,
    MediumUnreadableError,
    NoEarlierVersionError,
    PreflightFailedError,
    VersionUnhealthyError,
)
from appliance.core.home import Home
from tests.unit.bundle.bundle_attacker import LIMITS, NOW, Earlier, MemoryMedium, World, load

WEIGHTS = random.Random(7).randbytes(21_000)  # noqa: S311 - bytes of no meaning
LIFECYCLE = {
    "activate": [{"kind": "command", "argv": ["activate"]}],
    "state": ["registry/*.json"],
    "migrate": [["migrate"]],
    "health": [["health"]],
}


@dataclass
class FakeRunner:
    """Runs nothing: notes what would run, changes state like a migration, fails on demand."""

    home: Home
    ran: list[str] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    proven: Callable[[], bool] = lambda: True

    def run(self, argv: Sequence[str], cwd: Path, log: Path, timeout: float) -> int:
        assert self.proven()
        self.ran.append(argv[0])
        if argv[0] == "migrate":
            state = self.home.root / "registry" / "state.json"
            state.write_text("migrated")
        return int(argv[0] in self.failing)


@dataclass
class FakeProbe:
    free: int = 1 << 40
    jobs: list[str] = field(default_factory=list)
    machine: Facts = field(default_factory=Facts)

    def facts(self) -> Facts:
        return self.machine

    def free_bytes(self, folder: Path) -> int:
        return self.free

    def running_jobs(self) -> list[str]:
        return self.jobs


class Bench:
    """A home with an installer whose every part a test can reach."""

    def __init__(self, home: Home, world: World) -> None:
        self.home, self.world = home, world
        self.recorder = MemoryRecorder()
        self.clock = FixedClock(NOW)
        self.probe = FakeProbe()
        self.runner = FakeRunner(home)
        self.hook: Callable[[str], None] = lambda _step: None
        self.limits = LIMITS
        (home.root / "registry").mkdir(exist_ok=True)
        self.state = home.root / "registry" / "state.json"
        self.state.write_text("original")

    def installer(self) -> Installer:
        tools = Tools(self.recorder, self.clock, self.probe, self.runner, hook=self.hook)
        return Installer(self.home, self.limits, tools)

    def install(self, medium: MemoryMedium, kind: str = "install", **more: object) -> str:
        asked = Request(fingerprint(self.world.roots[0]), date(2026, 6, 1))
        asked = replace(asked, **more)  # type: ignore[arg-type] # a test names the field
        return str(self.installer().install(medium, asked, kind)["version"])

    def current(self) -> str | None:
        version = Store(self.home).current()
        return version.id if version else None


@pytest.fixture
def bench(home: Home, world: World) -> Bench:
    return Bench(home, world)


def agent(version: int) -> bytes:
    noise = random.Random(version)  # noqa: S311 - bytes of no meaning
    return b"agent %d " % version + noise.randbytes(9000)


@pytest.fixture(scope="session")
def releases(world: World, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    where = tmp_path_factory.mktemp("releases")
    made = []
    for version in (1, 2, 3):
        files = {"wheels/a.whl": agent(version), "models/m.gguf": WEIGHTS}
        world.folder(where / str(version), version, files, lifecycle=LIFECYCLE)
        made.append(load(where / str(version)).files)
    return made


def medium_of(files: dict[str, bytes]) -> MemoryMedium:
    return MemoryMedium(dict(files))


def content(bench: Bench, version: str) -> dict[str, bytes]:
    folder = bench.home.root / "bundle" / "versions" / version / "content"
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_install_update_and_rollback(bench: Bench, releases: list[dict[str, bytes]]) -> None:
    one = bench.install(medium_of(releases[0]))
    assert content(bench, one)["wheels/a.whl"] == agent(1)
    bench.clock.advance(60)
    two = bench.install(medium_of(releases[1]), "update")
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
    assert bench.recorder.events == []


def test_downgrade_is_refused_and_needs_a_signed_exception(
    bench: Bench, releases: list[dict[str, bytes]], world: World
) -> None:
    two = bench.install(medium_of(releases[1]))
    older = medium_of(releases[0])
    with pytest.raises(BundleRollbackError):
        bench.install(older, "update")
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


def test_medium_pulled_out_while_copying_then_resumed(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    medium = medium_of(releases[0])
    last = next(p for p, b in medium.files.items() if b == agent(1)[4096:8192])
    medium.failing[last] = (0, errno.ENODEV)
    with pytest.raises(MediumUnreadableError, match="the medium is gone"):
        bench.install(medium)
    assert bench.current() is None
    medium.failing.clear()
    bench.install(medium)
    assert int(str(bench.recorder.events[-1].detail["bytes_resumed"])) > 0


def test_what_an_interrupted_copy_left_is_proven_again(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    medium = medium_of(releases[0])
    bench.hook = _raise_at("before:place", RuntimeError("cut"))
    with pytest.raises(RuntimeError):
        bench.install(medium)
    staged = next((bench.home.root / "bundle" / "staging").rglob("a.whl"))
    staged.write_bytes(b"evil" + staged.read_bytes()[4:])
    (staged.parent / "stranger.whl").write_bytes(b"never signed")
    bench.hook = lambda _step: None
    version = bench.install(medium)
    found = content(bench, version)
    assert found["wheels/a.whl"] == agent(1)
    assert "wheels/stranger.whl" not in found


def _raise_at(step: str, error: BaseException) -> Callable[[str], None]:
    def hook(name: str) -> None:
        if name == step:
            raise error

    return hook


def steps_of(bench: Bench, change: Callable[[], object]) -> list[str]:
    """Return the name of every step that ``change`` passes."""
    seen: list[str] = []
    bench.hook = seen.append
    change()
    bench.hook = lambda _step: None
    return seen


def test_disk_full_at_each_step_of_update(
    home: Home, world: World, releases: list[dict[str, bytes]], tmp_path: Path
) -> None:
    probe = Bench(Home(tmp_path / "probe").prepare(), world)
    probe.install(medium_of(releases[0]))
    steps = steps_of(probe, lambda: probe.install(medium_of(releases[1]), "update"))
    bench = Bench(home, world)
    one = bench.install(medium_of(releases[0]))
    forward = steps.index("begun:finish")
    for number, step in enumerate(steps[:forward]):
        bench.state.write_text("kept")
        full = DiskFullError(expected="space", found="ENOSPC")
        bench.hook = _raise_at(step, full)
        with pytest.raises(DiskFullError):
            bench.install(medium_of(releases[1]), "update")
        assert bench.current() == one, step
        assert bench.state.read_text() == "kept", step
        assert not Store(home).journal.exists(), (number, step)
    bench.hook = lambda _step: None
    assert bench.install(medium_of(releases[1]), "update") != one


def test_disk_really_full_while_copying(bench: Bench, releases: list[dict[str, bytes]]) -> None:
    """The kernel refuses the write (a file size limit stands in for a full disk)."""
    child = os.fork()
    if child == 0:  # pragma: no cover - the child
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9000, 9000))
        status = 1
        try:
            bench.install(medium_of(releases[0]))
        except DiskFullError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert bench.current() is None
    assert bench.install(medium_of(releases[0])) == bench.current()


def killed_at(bench: Bench, step: str, change: Callable[[], object]) -> None:
    """Run ``change`` in a child that dies by SIGKILL at ``step``."""
    child = os.fork()
    if child == 0:  # pragma: no cover - the child

        def hook(name: str) -> None:
            if name == step:
                os.kill(os.getpid(), signal.SIGKILL)

        bench.hook = hook
        try:
            change()
        finally:
            os._exit(7)
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (step, status)


def settled(bench: Bench) -> None:
    """After a restart: the switch points at a whole version and nothing is under way."""
    bench.installer().recover()
    store = Store(bench.home)
    assert not store.journal.exists()
    current = store.current()
    if current is not None:
        assert current.ready
        listed = {e.path for e in current.entries()}
        assert set(content(bench, current.id)) == listed


def test_power_cut_at_each_step_of_install(
    home: Home, world: World, releases: list[dict[str, bytes]], tmp_path: Path
) -> None:
    probe = Bench(Home(tmp_path / "probe").prepare(), world)
    steps = steps_of(probe, lambda: probe.install(medium_of(releases[0])))
    assert len(steps) > 15
    for number, step in enumerate(steps):
        bench = Bench(Home(tmp_path / f"h{number}").prepare(), world)
        killed_at(bench, step, partial(bench.install, medium_of(releases[0])))
        settled(bench)
        finished = number >= steps.index("begun:finish")
        assert (bench.current() is not None) == finished, step
        assert bench.install(medium_of(releases[0])) == bench.current(), step


def test_power_cut_at_each_step_of_update(
    home: Home, world: World, releases: list[dict[str, bytes]], tmp_path: Path
) -> None:
    probe = Bench(Home(tmp_path / "probe").prepare(), world)
    probe.install(medium_of(releases[0]))
    steps = steps_of(probe, lambda: probe.install(medium_of(releases[1]), "update"))
    bench = Bench(home, world)
    one = bench.install(medium_of(releases[0]))
    for number, step in enumerate(steps[: steps.index("begun:finish")]):
        bench.state.write_text(f"kept {number}")
        killed_at(bench, step, lambda: bench.install(medium_of(releases[1]), "update"))
        assert Store(home).versions(), step
        settled(bench)
        assert bench.current() == one, step
        assert bench.state.read_text() == f"kept {number}", step
    for step in steps[steps.index("begun:finish") :]:
        late = Bench(Home(tmp_path / step.replace(":", "-")).prepare(), world)
        late.install(medium_of(releases[0]))
        killed_at(late, step, partial(late.install, medium_of(releases[1]), "update"))
        settled(late)
        assert late.current() != one, step
        with pytest.raises(BundleRollbackError):
            late.install(medium_of(releases[0]), "update")


def test_power_cut_at_each_step_of_rollback(
    home: Home, world: World, releases: list[dict[str, bytes]], tmp_path: Path
) -> None:
    def prepared(where: Path) -> Bench:
        made = Bench(Home(where).prepare(), world)
        made.install(medium_of(releases[0]))
        made.clock.advance(60)
        made.install(medium_of(releases[1]), "update")
        made.state.write_text("of version two")
        return made

    probe = prepared(tmp_path / "probe")
    steps = steps_of(probe, lambda: probe.installer().rollback(saved_state=True))
    bench = prepared(tmp_path / "one")
    two = bench.current()
    for step in steps[: steps.index("begun:finish")]:
        killed_at(bench, step, lambda: bench.installer().rollback(saved_state=True))
        settled(bench)
        assert bench.current() == two, step
        assert bench.state.read_text() == "of version two", step
    assert bench.installer().rollback(saved_state=True)["version"] == bench.current() != two


def test_power_cut_while_undoing_is_undone_again(
    bench: Bench, releases: list[dict[str, bytes]]
) -> None:
    one = bench.install(medium_of(releases[0]))
    bench.state.write_text("kept")
    bench.runner.failing = {"health"}
    for step in ("undo:switched", "undo:restored", "before:clear"):
        killed_at(bench, step, lambda: bench.install(medium_of(releases[1]), "update"))
        settled(bench)
        assert bench.current() == one
        assert bench.state.read_text() == "kept"


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
