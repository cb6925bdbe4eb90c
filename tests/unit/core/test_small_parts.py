from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from appliance.core.clock import FixedClock, SystemClock, rfc3339
from appliance.core.errors import HomeUnusableError
from appliance.core.home import Home, default_home
from appliance.core.progress import StderrProgress


def test_times_are_written_in_utc() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=-3)))
    assert rfc3339(moment) == "2026-01-02T06:04:05.000006Z"


def test_a_fixed_clock_moves_when_told() -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    clock.advance(90)
    assert rfc3339(clock.now()) == "2026-01-01T00:01:30.000000Z"
    assert clock.monotonic() == 90
    assert SystemClock().now().tzinfo is UTC


def test_the_home_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path))
    assert default_home() == tmp_path


def test_a_home_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(HomeUnusableError):
        Home(tmp_path / "file" / "home").prepare()


def test_keys_are_closed_to_others(tmp_path: Path) -> None:
    home = Home(tmp_path / "h").prepare()
    assert home.keys.stat().st_mode & 0o777 == 0o700


def test_progress_off_a_terminal_is_whole_lines() -> None:
    out = io.StringIO()
    progress = StderrProgress("training", out, interval=0)
    progress.update(1, 4, "loss 2.0")
    progress.update(4, 4)
    progress.close()
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "25%" in lines[0]
    assert "100%" in lines[1]
    assert "\x1b" not in out.getvalue()
