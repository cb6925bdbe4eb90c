"""Accidents at any step of a change of version: cut, full, pulled out; the earlier one stays."""

from __future__ import annotations

import errno
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from appliance.bundle.install.store import Store
from appliance.core.errors import (
    BundleRollbackError,
    DiskFullError,
    MediumUnreadableError,
)
from appliance.core.home import Home
from tests.unit.bundle.bundle_attacker import World
from tests.unit.bundle.install_bench import (
    Bench,
    agent,
    content,
    medium_of,
)


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


def test_a_version_is_called_ready_only_when_all_of_it_is_on_the_disk(
    bench: Bench, releases: list[dict[str, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pip and tar leave their files in the page cache: after a power cut they were seen empty."""
    order: list[str] = []
    monkeypatch.setattr(os, "sync", lambda: order.append("sync"))
    bench.hook = order.append
    bench.install(medium_of(releases[0]))
    assert order.index("before:place") < order.index("sync") < order.index("before:ready")
