from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core import durable
from appliance.core.canonical import canonical_json, file_hash, sha256_hex, tree_hash, value_hash
from appliance.core.errors import (
    BusyError,
    DiskFullError,
    HomeUnusableError,
    InputMissingError,
    StateDamagedError,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)


@given(JSON)
def test_canonical_json_round_trips_and_is_one_form(value: object) -> None:
    data = canonical_json(value)
    assert json.loads(data) == value
    assert canonical_json(json.loads(data)) == data
    assert value_hash(value) == sha256_hex(data)


def test_a_write_replaces_the_whole_file_and_leaves_no_temporary(tmp_path: Path) -> None:
    target = tmp_path / "a" / "state.json"
    durable.write_json(target, {"n": 1})
    durable.write_json(target, {"n": 2})
    assert durable.read_json(target) == {"n": 2}
    assert [p.name for p in target.parent.iterdir()] == ["state.json"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "state.json"
    durable.write_json(target, {"n": 1})

    def no_space(_fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(DiskFullError):
        durable.write_json(target, {"n": 2})
    assert json.loads(target.read_bytes()) == {"n": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.ENOENT, InputMissingError),
        (errno.EROFS, HomeUnusableError),
        (errno.EIO, HomeUnusableError),
    ],
)
def test_errors_of_the_system_become_the_appliances(number: int, expected: type) -> None:
    assert isinstance(durable.from_os_error(OSError(number, "x"), Path("f")), expected)


def test_state_cut_in_half_is_damaged_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(b'{"n": 1')
    with pytest.raises(StateDamagedError):
        durable.read_json(path)


def test_a_new_folder_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "version"
    with pytest.raises(RuntimeError), durable.new_folder(target) as temp:
        (temp / "half").write_text("x")
        raise RuntimeError
    assert not target.exists()
    with durable.new_folder(target) as temp:
        (temp / "sub").mkdir()
        (temp / "sub" / "whole").write_text("x")
    assert (target / "sub" / "whole").read_text() == "x"
    assert list(tmp_path.iterdir()) == [target]


def test_temporaries_of_a_killed_write_are_swept(tmp_path: Path) -> None:
    (tmp_path / ".tmp-x.1.aa").write_text("half")
    (tmp_path / ".tmp-y.1.bb").mkdir()
    (tmp_path / "kept").write_text("x")
    assert durable.sweep_temporaries(tmp_path) == 2
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


HOLD = """
import sys, time
from pathlib import Path
from appliance.core.durable import exclusive
with exclusive(Path(sys.argv[1]), what="test run"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(BusyError) as caught, durable.exclusive(path, what="test run"):
            pass
        assert str(holder.pid) in caught.value.found
        holder.kill()
        holder.wait()
    with durable.exclusive(path, what="test run"):
        pass


def test_hashes_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert file_hash(tmp_path / "a") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    before = tree_hash(tmp_path)
    (tmp_path / "b").write_bytes(b"")
    assert tree_hash(tmp_path) != before
