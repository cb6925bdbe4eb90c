"""A writer that root starts runs as the owner of the log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from appliance.audit.client import writer_owner
from appliance.core.home import Home


def test_root_starts_the_writer_as_the_owner_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert writer_owner(home) == {}
    home.audit.mkdir()
    seen = os.stat_result((0o40750, 1, 1, 2, 10001, 10000, 4096, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda _path, **_: seen)
    assert writer_owner(home) == {"user": 10001, "group": 10000, "extra_groups": []}
    monkeypatch.setattr(os, "geteuid", lambda: 10001)
    assert writer_owner(home) == {}
