"""What every test shares: the outside data, and a home of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.core.home import Home

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APPLIANCE_HOME", str(tmp_path / "home"))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home of this test's own."""
    return Home(tmp_path / "home").prepare()


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with data and vectors written by others, beside the project."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.fail(f"expected the shared data and vectors at {folder}")
    return folder


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI nothing may be skipped but what needs a GPU: a test that did not run proves nothing."""
    if not os.environ.get("CI"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    assert reporter is not None
    skipped = reporter.stats.get("skipped", [])
    needless = [report.nodeid for report in skipped if "gpu" not in report.keywords]
    if needless:
        reporter.write_line("")
        for node in needless:
            reporter.write_line(f"skipped, but CI has what it needs: {node}", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
