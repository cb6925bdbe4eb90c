"""What follows a change of version: units run the new code, images that nobody needs are gone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from appliance.audit.event import Event
from appliance.bundle.install.restart import in_order, running_in
from appliance.bundle.install.store import Store
from appliance.core.errors import (
    AuditUnavailableError,
    StateDamagedError,
    VersionUnhealthyError,
)
from appliance.core.home import Home
from tests.unit.bundle.bundle_attacker import LIMITS, MemoryMedium, World, load
from tests.unit.bundle.images.memory_engine import small_archive
from tests.unit.bundle.install_bench import LIFECYCLE, Bench
from tests.unit.bundle.test_install_accidents import killed_at, settled

AUDIT, SERVICES, OLD = (f"appliance-{n}.service" for n in ("audit", "services", "old"))
Release = Callable[..., MemoryMedium]


@pytest.fixture
def release(world: World, tmp_path: Path) -> Release:
    """Make a release with its own image, one that all share, and units to restart."""

    def make(number: int, units: tuple[str, ...] = (AUDIT, SERVICES)) -> MemoryMedium:
        where = tmp_path / f"release-{number}"
        files, contents = {"wheels/a.whl": b"agent %d" % number}, []
        for name, text in (("own", b"%d" % number), ("shared", b"the same in all")):
            path = where / f"{name}.oci.tar"
            small_archive(path, f"appliance/{name}:1", text)
            files[f"images/{name}.oci.tar"] = path.read_bytes()
            content = {"path": f"images/{name}.oci.tar", "kind": "image", "name": name}
            contents.append(content)
        life = {**LIFECYCLE, "after": [{"kind": "restart", "units": units}]}
        del life["migrate"]
        folder = where / "medium"
        world.folder(folder, number, files, lifecycle=life, contents=contents)
        return load(folder)

    return make


def image_of(tmp_path: Path, number: int, name: str = "own") -> str:
    """Return the id of a release's image."""
    text = b"%d" % number if name == "own" else b"the same in all"
    return small_archive(tmp_path / "again" / f"{number}.tar", f"appliance/{name}:1", text)


def told(bench: Bench) -> list[tuple[str, str, object]]:
    return [(e.action, e.phase, e.outcome) for e in bench.recorder.events]


def open_intents(events: list[Event]) -> set[str]:
    ended = {e.intent for e in events if e.phase == "outcome"}
    return {e.id for e in events if e.phase == "intent"} - {str(i) for i in ended}


# -- units -----------------------------------------------------------------------------------------


def test_units_are_restarted_after_the_version_was_judged(bench: Bench, release: Release) -> None:
    bench.units.up = [AUDIT, SERVICES]
    seen: list[str] = []
    bench.units.meanwhile = lambda: seen.extend(bench.runner.ran)
    bench.install(release(1))
    assert bench.units.restarted == [[AUDIT, SERVICES]]
    assert seen[-1] == "health"
    assert told(bench) == [
        ("bundle.install", "intent", None),
        ("bundle.install", "outcome", "success"),
        ("bundle.restart_begins", "event", None),
        ("bundle.restart", "event", "success"),
    ]
    assert bench.recorder.events[-1].detail == {"units": f"{AUDIT} {SERVICES}"}


def test_no_intent_is_open_while_the_logs_writer_changes(bench: Bench, release: Release) -> None:
    """A writer that starts calls every intent without outcome unknown."""
    bench.units.up = [AUDIT]
    left: list[set[str]] = []
    bench.units.meanwhile = lambda: left.append(open_intents(bench.recorder.events))
    bench.install(release(1))
    bench.clock.advance(60)
    bench.install(release(2), "update")
    bench.installer().rollback()
    assert left == [set()] * 3


def test_a_unit_that_does_not_come_up_is_told_and_the_version_stands(
    bench: Bench, release: Release
) -> None:
    one = bench.install(release(1))
    bench.clock.advance(60)
    bench.units.up, bench.units.breaking = [AUDIT, SERVICES], {SERVICES}
    two = bench.install(release(2), "update")
    assert bench.current() == two != one
    last = bench.recorder.events[-1]
    assert (last.outcome, last.detail["not_running"]) == ("failure", SERVICES)
    found = bench.installer().rollback()
    assert (found["ok"], found["restarted"]) == (True, [AUDIT])


def test_an_unhealthy_version_restarts_nothing(bench: Bench, release: Release) -> None:
    bench.units.up = [AUDIT]
    bench.runner.failing = {"health"}
    with pytest.raises(VersionUnhealthyError):
        bench.install(release(1))
    assert bench.units.restarted == []
    assert not Store(bench.home).after.exists()


@pytest.mark.parametrize("why", ["skipped: systemd does not run here", None])
def test_without_systemd_or_units_the_receipt_says_so(
    bench: Bench, release: Release, why: str | None
) -> None:
    bench.units.why = why
    bench.install(release(1))
    last = bench.recorder.events[-1]
    assert last.action == "bundle.restart"
    assert last.detail == {"units": why or "none of them runs"}
    assert bench.units.restarted == []


def test_units_of_both_versions_are_restarted(bench: Bench, release: Release) -> None:
    """One that only the earlier version names runs its code until it is stopped."""
    bench.install(release(1, (OLD,)))
    bench.clock.advance(60)
    bench.units.up = [OLD, SERVICES]
    bench.install(release(2), "update")
    bench.installer().rollback()
    assert bench.units.restarted == [[OLD, SERVICES]] * 2


def test_a_cut_before_the_restart_loses_nothing(bench: Bench, release: Release) -> None:
    bench.install(release(1))
    bench.clock.advance(60)
    bench.units.up = [AUDIT]
    second = release(2)
    killed_at(bench, "before:after", lambda: bench.install(second, "update"))
    assert bench.units.restarted == []
    settled(bench)
    assert bench.units.restarted == [[AUDIT]]
    settled(bench)
    assert len(bench.units.restarted) == 1


def test_without_the_log_nothing_is_restarted_and_it_is_not_forgotten(
    bench: Bench, release: Release
) -> None:
    bench.units.up = [AUDIT]

    def cut(step: str) -> None:
        if step == "before:after":
            bench.recorder.sink.broken = True

    bench.hook = cut
    with pytest.raises(AuditUnavailableError):
        bench.install(release(1))
    assert bench.units.restarted == []
    bench.recorder.sink.broken = False
    bench.installer().recover()
    assert bench.units.restarted == [[AUDIT]]


def test_a_damaged_note_is_an_error_not_a_guess(bench: Bench) -> None:
    path = Store(bench.home).after
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"units": 3}')
    with pytest.raises(StateDamagedError):
        bench.installer().recover()


def test_the_services_are_asked_first_and_then_the_writer() -> None:
    """A systemd on trial stopped all who write, then the writer, and started the writer first."""
    named = ["appliance-audit-collect.service", AUDIT, "appliance-trainer.service", SERVICES]
    assert in_order(named) == [SERVICES, AUDIT, named[0], named[2]]
    assert in_order([OLD, AUDIT]) == [AUDIT, OLD]


def test_units_of_another_home_are_left_alone() -> None:
    rows = (("a", "active", "/srv/appliance"), ("b", "inactive", "/srv/appliance"),
            ("c", "active", "/srv/appliance-other"), ("d", "active", ""),
            ("e", "activating", "/var/log /srv/appliance"))  # fmt: skip
    shown = "\n\n".join(
        f"Id={n}\nActiveState={s}" + (f"\nRequiresMountsFor={m}" if m else "") for n, s, m in rows
    )
    assert running_in(shown + "\n", "/srv/appliance") == ["a", "e"]
    assert running_in("", "/srv/appliance") == []


# -- images ----------------------------------------------------------------------------------------


def installed(bench: Bench, release: Release, *numbers: int) -> None:
    bench.limits = LIMITS.model_copy(update={"keep_versions": 2})
    for number in numbers:
        bench.install(release(number), "update" if number > 1 else "install")
        bench.clock.advance(60)


def test_images_that_only_a_removed_version_brought_go(
    bench: Bench, release: Release, tmp_path: Path
) -> None:
    installed(bench, release, 1, 2)
    assert bench.engine.asked == []
    bench.engine.held = {image_of(tmp_path, 1), image_of(tmp_path, 1, "shared"), "sha256:foreign"}
    installed(bench, release, 3)
    assert bench.engine.asked == [{image_of(tmp_path, 1): "appliance/own:1"}]
    assert bench.engine.held == {image_of(tmp_path, 1, "shared"), "sha256:foreign"}
    outcome = next(e for e in reversed(bench.recorder.events) if e.phase == "outcome")
    assert outcome.detail["images_removed"] == 1


def test_an_image_that_cannot_be_removed_is_a_warning_and_tried_again(
    bench: Bench, release: Release, tmp_path: Path
) -> None:
    installed(bench, release, 1, 2)
    one, two = image_of(tmp_path, 1), image_of(tmp_path, 2)
    bench.engine.used = {one}
    installed(bench, release, 3)
    assert bench.current() is not None
    outcome = next(e for e in reversed(bench.recorder.events) if e.phase == "outcome")
    assert (outcome.outcome, outcome.detail["images_left"]) == ("success", 1)
    bench.engine.used = set()
    installed(bench, release, 4)
    assert set(bench.engine.asked[-1]) == {one, two}
    installed(bench, release, 5)
    assert set(bench.engine.asked[-1]) == {image_of(tmp_path, 3)}


def test_an_unreadable_archive_of_a_kept_version_keeps_every_image(
    bench: Bench, release: Release
) -> None:
    installed(bench, release, 1, 2)
    kept = Store(bench.home).versions()[0]
    (kept.content / "images" / "own.oci.tar").write_bytes(b"damaged")
    installed(bench, release, 3)
    assert bench.engine.asked == []


def test_a_cut_while_pruning_is_finished_later(
    home: Home, world: World, release: Release, tmp_path: Path
) -> None:
    for step in ("before:prune", "before:images", "before:clear"):
        bench = Bench(Home(tmp_path / step.replace(":", "-")).prepare(), world)
        installed(bench, release, 1, 2)
        third = release(3)
        killed_at(bench, step, partial(bench.install, third, "update"))
        settled(bench)
        # The child's engine is another one: here is what the machine's own was asked at last.
        wanted = [] if step == "before:clear" else [{image_of(tmp_path, 1): "appliance/own:1"}]
        assert bench.engine.asked == wanted, step
        assert len(Store(bench.home).versions()) == 2


@pytest.mark.parametrize("text", ["[]", "no JSON"])
def test_a_damaged_list_of_images_is_begun_anew(
    bench: Bench, release: Release, text: str, tmp_path: Path
) -> None:
    """Pruning saves disk space: it never stands against a version."""
    installed(bench, release, 1, 2)
    Store(bench.home).leftovers.write_text(text)
    installed(bench, release, 3)
    assert bench.engine.asked == [{image_of(tmp_path, 1): "appliance/own:1"}]
