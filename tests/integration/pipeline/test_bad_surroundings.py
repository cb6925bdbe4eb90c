"""A full disk, a read-only home, a second run: a clear error with its own code, nothing lost."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.core.errors import BusyError, DiskFullError, HomeUnusableError, InputMissingError
from tests.integration.pipeline.conftest import SmallDemo, small_pubmedqa


@pytest.fixture
def small_disk(tmp_path: Path, shared_dir: Path) -> Iterator[SmallDemo]:
    """A home on a file system of its own, of 90 MB."""
    mount = tmp_path / "disk"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=90m", "tmpfs", str(mount)], check=True)
    try:
        home = mount / "home"
        home.mkdir()
        (home / "appliance.toml").write_text("[pipeline]\nmin_free_mb = 50\n")
        yield SmallDemo(home, small_pubmedqa(shared_dir, tmp_path))
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


@pytest.mark.root
def test_too_little_space_is_refused_before_anything_is_done(small_disk: SmallDemo) -> None:
    (small_disk.home / "ballast").write_bytes(bytes(60 << 20))
    done = small_disk.run()
    assert done.returncode == DiskFullError.exit_code, done.stderr
    assert "MB free" in done.stderr
    assert not (small_disk.home / "runs" / "stages").exists()


@pytest.mark.root
def test_a_disk_that_fills_up_on_the_way_is_said_and_the_same_command_goes_on(
    small_disk: SmallDemo,
) -> None:
    ballast = small_disk.home.parent / "ballast"
    done = small_disk.run(stage="import", do="fill", file=str(ballast))
    assert done.returncode not in {0, 1, 2, 3}, done.stderr
    assert "Traceback" not in done.stderr
    assert "space" in done.stderr
    assert not list((small_disk.home / "datasets").glob("*")), "nothing half-written is a dataset"
    ballast.unlink()
    again = small_disk.run(stage="split", do="kill", after=0)
    assert again.returncode == -9, again.stderr[-1000:]
    assert "Import the records" in again.stderr


@pytest.mark.root
def test_a_read_only_home_is_refused(small_disk: SmallDemo) -> None:
    mount = str(small_disk.home.parent)
    subprocess.run(["mount", "-o", "remount,ro", mount], check=True)
    done = small_disk.run()
    assert done.returncode == HomeUnusableError.exit_code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_run_is_refused_while_one_runs(tmp_path: Path, shared_dir: Path) -> None:
    from appliance.core.home import Home
    from appliance.pipeline.runner import pipeline_lock

    home = Home(tmp_path / "busy").prepare()
    demo = SmallDemo(home.root, small_pubmedqa(shared_dir, tmp_path))
    with pipeline_lock(home):
        done = demo.run()
    assert done.returncode == BusyError.exit_code, done.stderr
    assert "process" in done.stderr


def test_a_missing_input_is_named(tmp_path: Path) -> None:
    demo = SmallDemo(tmp_path / "home", tmp_path / "nothing.json")
    done = demo.run()
    assert done.returncode == InputMissingError.exit_code
    assert "--pubmedqa" in done.stderr
