"""Every bad file of tests/golden/data gives its own error, or loses only its bad records."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.memory import MemoryRecorder
from appliance.core.errors import (
    ApplianceError,
    DiskFullError,
    HomeUnusableError,
    InputTooLongError,
)
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.service import ImportOptions, import_files
from appliance.datasets.store import DatasetStore

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "data"
EXPECTED: dict[str, dict[str, Any]] = json.loads((GOLDEN / "expected.json").read_text())
SETTINGS = Settings()


def test_every_golden_file_is_expected() -> None:
    here = {p.name for p in GOLDEN.iterdir()} - {"expected.json"}
    assert here == set(EXPECTED) - {"missing.json"}


@pytest.mark.parametrize("name", EXPECTED)
def test_golden(home: Home, name: str) -> None:
    wanted, recorder = EXPECTED[name], MemoryRecorder()
    if "error" not in wanted:
        result = import_files(home, SETTINGS, [GOLDEN / name], recorder)
        assert result.records == wanted["records"]
        assert [[r["where"], r["reason"]] for r in result.refusals] == wanted["refused"]
        assert result.refused == len(wanted["refused"])
        return
    with pytest.raises(ApplianceError) as caught:
        import_files(home, SETTINGS, [GOLDEN / name], recorder)
    assert (caught.value.id, caught.value.exit_code) == (wanted["error"], wanted["exit_code"])
    assert DatasetStore(home).list() == ()
    assert not home.records.exists() or not list(home.records.iterdir())


def test_a_good_file_beside_a_bad_one_is_not_imported_alone(home: Home) -> None:
    with pytest.raises(ApplianceError):
        import_files(home, SETTINGS, [GOLDEN / "cut.jsonl", GOLDEN / "cut.json"], MemoryRecorder())
    assert DatasetStore(home).list() == ()


def test_the_named_encoding_is_used(home: Home) -> None:
    options = ImportOptions(encoding="latin-1")
    result = import_files(home, SETTINGS, [GOLDEN / "latin1.csv"], MemoryRecorder(), options)
    assert next(DatasetStore(home).open(result.hash).iter_records()).question == "Dói?"


LONG_LINE = """
import resource, sys
from pathlib import Path
from appliance.audit.memory import MemoryRecorder
from appliance.core.errors import ApplianceError
from appliance.core.home import Home
from appliance.core.settings import Settings
from appliance.datasets.service import import_files
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    done = import_files(Home(Path(sys.argv[1])).prepare(), Settings(), [Path(sys.argv[2])],
                        MemoryRecorder())
    print(done.records, done.refused)
except ApplianceError as error:
    print(error.id)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize(
    ("name", "head", "answer"),
    [
        ("long.jsonl", b'{"question": "Sim?"}\n', "1 1"),
        ("alone.jsonl", b"", "input-too-long"),
        ("long.json", b"", "input-too-long"),
        ("long.csv", b"question,forbidden,safe\n", "input-too-long"),
    ],
)
def test_a_line_of_200_megabytes_never_fills_the_memory(
    tmp_path: Path, name: str, head: bytes, answer: str
) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.write(head + b'{"question": "')
        stream.truncate(200 << 20)  # NUL characters to the end
    done = subprocess.run(
        [sys.executable, "-c", LONG_LINE, str(tmp_path / "home"), str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    said, grown = done.stdout.splitlines()
    assert said == answer
    assert int(grown) < 120, "MiB more than before the import"


def test_a_full_disk_leaves_nothing_half_written(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "big.jsonl"
    row = json.dumps({"question": "x" * 1000, "answer": "y"})
    path.write_text("".join(f"{row}\n" for _ in range(3000)))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(DiskFullError):
            import_files(home, SETTINGS, [path], MemoryRecorder())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert DatasetStore(home).list() == ()
    assert list(home.records.iterdir()) == []


def test_a_read_only_home_is_an_error(home: Home) -> None:
    home.root.chmod(0o555)
    nobody = 65534
    if os.geteuid() == 0:  # root may write anywhere: become somebody who may not
        os.seteuid(nobody)
    try:
        with pytest.raises(HomeUnusableError):
            import_files(home, SETTINGS, [GOLDEN / "cut.jsonl"], MemoryRecorder())
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        home.root.chmod(0o755)


def test_a_folder_that_is_a_file_is_an_error(home: Home) -> None:
    home.records.write_text("in the way")
    with pytest.raises(ApplianceError) as caught:
        import_files(home, SETTINGS, [GOLDEN / "cut.jsonl"], MemoryRecorder())
    assert caught.value.id in {"home-unusable", "input-missing"}


def test_a_record_limit_names_the_setting(home: Home, tmp_path: Path) -> None:
    settings = Settings.model_validate({"datasets": {"document_bytes": 2048}})
    path = tmp_path / "big.json"
    path.write_text("[" + " " * 4096 + "]")
    with pytest.raises(InputTooLongError, match=r"datasets\.document_bytes"):
        import_files(home, settings, [path], MemoryRecorder())
