"""Backups: whole or refused; resumable; nothing readable or changeable on the way."""

from __future__ import annotations

import io
import os
import random
import resource
import signal
import sqlite3
import stat
import time
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.bundle.backup import header, restore
from appliance.bundle.backup.create import Wish, create
from appliance.bundle.backup.header import IDENTITY, RECIPIENT, Recipients, Secrets, parse_key
from appliance.bundle.backup.stream import OVERHEAD, Opener, Sealer
from appliance.core.errors import (
    BackupDamagedError,
    BackupLockedError,
    BackupSourceChangedError,
    DiskFullError,
    RestoreRefusedError,
)
from appliance.core.home import Home
from appliance.core.settings.backup import BackupSettings

SETTINGS = BackupSettings(chunk_bytes=4096, scrypt_log_n=10, fsync_chunks=4)
PASS = Secrets(passphrase="correct horse")
FOR_PASS = Recipients(passphrase="correct horse")


def key_pair() -> tuple[bytes, bytes]:
    identity, recipient = header.generate_identity()
    return parse_key(identity, IDENTITY), parse_key(recipient, RECIPIENT)


@pytest.fixture
def state(home: Home) -> Home:
    noise = random.Random(3)  # noqa: S311 - bytes of no meaning
    for name, size in (("models/a/adapter.gguf", 70_000), ("datasets/d1/rows", 9_000), ("x", 0)):
        (home.root / name).parent.mkdir(parents=True, exist_ok=True)
        (home.root / name).write_bytes(noise.randbytes(size))
    (home.keys / "pseudonym.key").write_bytes(b"very secret key bytes")
    (home.run / "socket.lock").write_bytes(b"not state")
    with sqlite3.connect(home.root / "registry.sqlite") as database:
        database.execute("create table t (x)")
        database.execute("insert into t values (42)")
    database.close()
    return home


def backed_up(state: Home, tmp_path: Path, **more: object) -> Path:
    out = tmp_path / "b.backup"
    wish = Wish(out, FOR_PASS, **more)  # type: ignore[arg-type] # a test names the field
    create(state, wish, SETTINGS)
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_round_trip_into_an_empty_home(state: Home, tmp_path: Path) -> None:
    out = backed_up(state, tmp_path)
    assert restore.verify(out, PASS, SETTINGS)["ok"]
    done = restore.restore(out, tmp_path / "new", PASS, SETTINGS)
    found = tree(tmp_path / "new")
    expected = {k: v for k, v in tree(state.root).items() if not k.startswith("run/")}
    database = found.pop("registry.sqlite")
    expected.pop("registry.sqlite")
    assert found == expected
    assert done["files"] == len(expected) + 1
    (tmp_path / "db").write_bytes(database)
    assert sqlite3.connect(tmp_path / "db").execute("select x from t").fetchall() == [(42,)]
    assert stat.S_IMODE((tmp_path / "new" / "keys").stat().st_mode) == 0o700
    assert list(state.run.glob("backup/*")) == []


def test_nothing_of_the_state_is_readable_in_the_backup(state: Home, tmp_path: Path) -> None:
    data = backed_up(state, tmp_path).read_bytes()
    for word in (b"very secret", b"pseudonym", b"adapter", b"MANIFEST", b"registry"):
        assert word not in data


def test_restore_over_something_is_refused(state: Home, tmp_path: Path) -> None:
    out = backed_up(state, tmp_path)
    with pytest.raises(RestoreRefusedError):
        restore.restore(out, state.root, PASS, SETTINGS)
    with pytest.raises(RestoreRefusedError):
        create(state, Wish(out, FOR_PASS), SETTINGS)


def test_each_recipient_opens_it_and_nobody_else(state: Home, tmp_path: Path) -> None:
    (one, public_one), (two, public_two), (stranger, _) = key_pair(), key_pair(), key_pair()
    out = tmp_path / "b"
    create(state, Wish(out, Recipients((public_one, public_two), "correct horse")), SETTINGS)
    for held in (Secrets((one,)), Secrets((stranger, two)), PASS):
        assert restore.verify(out, held, SETTINGS)["ok"]
    for held in (Secrets((stranger,)), Secrets(passphrase="wrong"), Secrets()):
        with pytest.raises(BackupLockedError):
            restore.verify(out, held, SETTINGS)


def test_without_any_recipient_no_backup_is_made(state: Home, tmp_path: Path) -> None:
    with pytest.raises(BackupLockedError):
        create(state, Wish(tmp_path / "b", Recipients()), SETTINGS)
    assert not (tmp_path / "b").exists()


def test_escrowed_keys_open_only_for_the_escrow_holder(state: Home, tmp_path: Path) -> None:
    escrow, public = key_pair()
    out = backed_up(state, tmp_path, escrow=Recipients((public,)))
    restore.restore(out, tmp_path / "a", PASS, SETTINGS)
    assert not any(b"very secret" in data for data in tree(tmp_path / "a").values())
    both = Secrets((escrow,), "correct horse")
    restore.restore(out, tmp_path / "b", both, SETTINGS)
    assert (tmp_path / "b" / "keys" / "pseudonym.key").read_bytes() == b"very secret key bytes"
    with pytest.raises(BackupLockedError):
        restore.verify(out, Secrets((escrow,)), SETTINGS)


def chunks_of(data: bytes) -> tuple[bytes, list[bytes]]:
    start = data.index(b"\n", len(header.MAGIC)) + 1
    size, body = SETTINGS.chunk_bytes + OVERHEAD, data[start:]
    return data[:start], [body[i : i + size] for i in range(0, len(body), size)]


def refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(data)
    with pytest.raises(BackupDamagedError):
        restore.verify(tmp_path / "bad", PASS, SETTINGS)
    with pytest.raises(BackupDamagedError):
        restore.restore(tmp_path / "bad", tmp_path / "target", PASS, SETTINGS)
    assert not (tmp_path / "target").exists()
    assert not list(tmp_path.glob(".tmp-*"))


def test_truncated_at_a_chunk_boundary(state: Home, tmp_path: Path) -> None:
    head, chunks = chunks_of(backed_up(state, tmp_path).read_bytes())
    assert len(chunks) > 10
    refused(head + b"".join(chunks[:-1]), tmp_path)


def test_truncated_within_a_chunk(state: Home, tmp_path: Path) -> None:
    refused(backed_up(state, tmp_path).read_bytes()[:-7], tmp_path)


def test_cut_down_to_the_header(state: Home, tmp_path: Path) -> None:
    head, _ = chunks_of(backed_up(state, tmp_path).read_bytes())
    refused(head, tmp_path)


def test_reordered_chunks(state: Home, tmp_path: Path) -> None:
    head, chunks = chunks_of(backed_up(state, tmp_path).read_bytes())
    chunks[1], chunks[2] = chunks[2], chunks[1]
    refused(head + b"".join(chunks), tmp_path)


def test_chunk_twice_and_chunk_left_out(state: Home, tmp_path: Path) -> None:
    head, chunks = chunks_of(backed_up(state, tmp_path).read_bytes())
    refused(head + b"".join([*chunks[:2], *chunks[1:]]), tmp_path)
    refused(head + b"".join([*chunks[:2], *chunks[3:]]), tmp_path)


def test_chunks_of_another_backup(state: Home, tmp_path: Path) -> None:
    head, chunks = chunks_of(backed_up(state, tmp_path).read_bytes())
    create(state, Wish(tmp_path / "other", FOR_PASS), SETTINGS)
    _, foreign = chunks_of((tmp_path / "other").read_bytes())
    refused(head + b"".join([foreign[0], *chunks[1:]]), tmp_path)
    refused(head + b"".join(foreign), tmp_path)


def test_bytes_appended(state: Home, tmp_path: Path) -> None:
    refused(backed_up(state, tmp_path).read_bytes() + b"x", tmp_path)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_bit_flip_anywhere(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("flip")
    home = Home(folder / "home").prepare()
    (home.root / "x").write_bytes(b"state" * 2000)
    original = bytearray(backed_up(home, folder).read_bytes())
    at = data.draw(st.integers(0, len(original) * 8 - 1))
    original[at // 8] ^= 1 << (at % 8)
    (folder / "bad").write_bytes(bytes(original))
    with pytest.raises((BackupDamagedError, BackupLockedError)):
        restore.verify(folder / "bad", PASS, SETTINGS)


def test_a_header_that_asks_for_a_gigabyte_of_memory(state: Home, tmp_path: Path) -> None:
    data = backed_up(state, tmp_path).read_bytes()
    refused(data.replace(b'"log_n":10', b'"log_n":30'), tmp_path)


def test_endless_header(tmp_path: Path) -> None:
    refused(header.MAGIC + b"x" * 100_000, tmp_path)


@settings(max_examples=40, deadline=None)
@given(
    plain=st.binary(max_size=700),
    cuts=st.lists(st.integers(1, 99), max_size=9),
    piece=st.integers(1, 400),
    behind=st.integers(0, 3),
)
def test_stream_round_trip_in_any_pieces(
    plain: bytes, cuts: list[int], piece: int, behind: int
) -> None:
    out, at = io.BytesIO(), 0
    sealer = Sealer(b"k" * 32, out, 64, behind=behind)
    for cut in [*cuts, len(plain)]:
        sealer.write(plain[at : at + cut])
        at += cut
    sealer.finish()
    opener = Opener(b"k" * 32, io.BytesIO(out.getvalue()), 64)
    found = b"".join(iter(lambda: opener.read(piece), b""))
    assert found == plain[: min(at, len(plain))]
    opener.close()


def test_a_chunk_written_again_never_repeats_a_nonce() -> None:
    """Two attempts over different bytes must not be XORed into their plain texts."""
    first, second = io.BytesIO(), io.BytesIO()
    for attempt, out, text in ((1, first, b"a" * 64), (2, second, b"b" * 64)):
        sealer = Sealer(b"k" * 32, out, 64, attempt=attempt)
        sealer.write(text)
        sealer.finish()
    mixed = bytes(x ^ y for x, y in zip(first.getvalue(), second.getvalue(), strict=True))
    assert mixed[4:68] != bytes([ord("a") ^ ord("b")]) * 64


def killed_at(state: Home, out: Path, step: str, times: int, *, noted: int = 0) -> None:
    """Kill a run at the ``times``-th ``step``, when ``noted`` flushes have been noted."""
    child = os.fork()
    if child == 0:  # pragma: no cover - the child
        seen: Counter[str] = Counter()

        def hook(now: str) -> None:  # called by the writing and by the flushing thread
            seen[now] += 1
            if now == step and seen[step] == times:
                while seen["noted"] < noted:
                    time.sleep(0.001)
                os.kill(os.getpid(), signal.SIGKILL)

        create(state, Wish(out, FOR_PASS), SETTINGS, hook=hook)
        os._exit(7)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])


def resumed(state: Home, out: Path, tmp_path: Path) -> dict[str, object]:
    """Finish a run that was killed, and prove what it made."""
    assert not out.exists()
    done = create(state, Wish(out, FOR_PASS), SETTINGS)
    restore.restore(out, tmp_path / "new", PASS, SETTINGS)
    name = "models/a/adapter.gguf"
    assert (tmp_path / "new" / name).read_bytes() == (state.root / name).read_bytes()
    return done


def test_power_cut_and_resume(state: Home, tmp_path: Path) -> None:
    out = tmp_path / "b"
    for chunks, noted in ((5, 2), (5, 2), (1, 0)):  # two of SETTINGS' four chunks a flush
        killed_at(state, out, "chunk", chunks, noted=noted)
        assert not out.exists()
    done = resumed(state, out, tmp_path)
    assert (done["chunks_resumed"], done["attempt"]) == (8, 4)


def test_power_cut_between_a_flush_and_its_note(state: Home, tmp_path: Path) -> None:
    killed_at(state, tmp_path / "b", "flushed", 2)
    assert resumed(state, tmp_path / "b", tmp_path)["chunks_resumed"] == 2


def test_power_cut_when_all_is_written_and_nothing_renamed(state: Home, tmp_path: Path) -> None:
    killed_at(state, tmp_path / "b", "written", 1)
    done = resumed(state, tmp_path / "b", tmp_path)
    assert done["chunks_resumed"] == (tmp_path / "b").stat().st_size // (4096 + OVERHEAD) // 2 * 2


def test_a_full_disk_is_named_and_the_next_run_goes_on(state: Home, tmp_path: Path) -> None:
    """The write that fails is one of another thread; the plain file is read on meanwhile."""
    out = tmp_path / "b"
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with pytest.raises(DiskFullError, match=r"b\.part"):
            create(state, Wish(out, FOR_PASS), SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, before)
    assert resumed(state, out, tmp_path)["attempt"] == 2


def test_a_disk_that_fills_during_restore_leaves_nothing(state: Home, tmp_path: Path) -> None:
    out = backed_up(state, tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, resource.RLIM_INFINITY))
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    opened = len(list(Path("/proc/self/fd").iterdir()))
    try:
        with pytest.raises(DiskFullError):
            restore.restore(out, tmp_path / "new", PASS, SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "new").exists()
    assert len(list(Path("/proc/self/fd").iterdir())) == opened


def test_resume_starts_afresh_when_the_state_changed(state: Home, tmp_path: Path) -> None:
    killed_at(state, tmp_path / "b", "chunk", 6)
    (state.root / "datasets/d1/rows").write_bytes(b"other")
    done = create(state, Wish(tmp_path / "b", FOR_PASS), SETTINGS)
    assert (done["chunks_resumed"], done["attempt"]) == (0, 1)
    assert restore.verify(tmp_path / "b", PASS, SETTINGS)["ok"]


def test_a_file_that_changes_while_it_is_read(state: Home, tmp_path: Path) -> None:
    def hook(step: str) -> None:
        if step == "begun":
            (state.root / "models/a/adapter.gguf").write_bytes(b"shorter")

    with pytest.raises(BackupSourceChangedError):
        create(state, Wish(tmp_path / "b", FOR_PASS), SETTINGS, hook=hook)
    assert not (tmp_path / "b").exists()


def test_drill_reports_what_the_log_check_says(state: Home, tmp_path: Path) -> None:
    (state.audit / "log-0001").mkdir(parents=True)
    (state.audit / "log-0001" / "checkpoint").write_bytes(b"1")
    out = backed_up(state, tmp_path)
    asked: list[bool] = []

    def check(audit: Path) -> dict[str, object]:
        asked.append((audit / "log-0001" / "checkpoint").read_bytes() == b"1")
        return {"ok": False, "size": 1}

    done = restore.drill(out, PASS, SETTINGS, tmp_path / "scratch", check)
    assert asked == [True]
    assert not done["ok"] and done["damaged"] == []
    assert list((tmp_path / "scratch").iterdir()) == []
