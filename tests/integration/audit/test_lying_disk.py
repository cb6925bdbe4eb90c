"""A disk that lies: it says that it flushed, and has not; then the power goes.

strace makes every ``fdatasync`` and ``fsync`` of a running writer return success without being
made. The entries are acknowledged and a checkpoint is signed and kept by somebody. Then each file
is put back as a disk may have it: the earlier bytes, none, zeroes, or some pages of the new ones.
No software can keep what such a disk loses. The log must open in an earlier state or refuse in
plain words, and a verification against the kept checkpoint must name the loss.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.audit import wire
from appliance.audit.client import SocketSink, connect
from appliance.audit.event import new_id
from appliance.audit.layout import shards
from appliance.audit.peers import socket_path
from appliance.audit.tiles import parse_path, read_bundle
from appliance.audit.verify import Options, Report, verify_home
from appliance.audit.writer import Writer
from appliance.core.errors import ApplianceError
from appliance.core.home import Home
from appliance.core.settings import load_settings
from tests.integration.audit.conftest import stop_writer, wait_gone
from tests.integration.audit.test_faults import SETTINGS, dial, start_under, strace
from tests.integration.audit.test_writer import body

__all__ = ["strace"]  # the fixture installs it
PAGE = 4096
LOG = "log-0001"


@dataclass(frozen=True)
class Lie:
    """What the disk had before the lie, what the cache had at the power cut, what was said."""

    before: Path
    cached: Path
    kept: bytes  # the last checkpoint, as an officer keeps it
    acknowledged: dict[str, int]
    flushed: int  # entries acknowledged by an honest disk

    def home(self, folder: Path, disk: Path) -> Home:
        """A home whose audit folder is ``disk``."""
        home = Home(folder).prepare()
        home.settings_file.write_text(SETTINGS, encoding="utf-8")
        shutil.rmtree(home.audit, ignore_errors=True)
        shutil.copytree(disk, home.audit)
        return home


@pytest.fixture(scope="module")
def lie(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Lie:
    """A writer that an honest disk served first, and one that lies afterwards."""
    folder = tmp_path_factory.mktemp("lie")
    home = Home(folder / "home").prepare()
    home.settings_file.write_text(SETTINGS, encoding="utf-8")
    acknowledged: dict[str, int] = {}

    def append(sink: SocketSink, count: int) -> None:
        ids = [new_id() for _ in range(count)]
        places = sink.append([body(id=i, user="u" * 100, role="r" * 60) for i in ids])
        acknowledged.update(zip(ids, places, strict=True))

    sink = connect(home)
    append(sink, 300)
    sink.close()
    stop_writer(home)
    before, flushed = Path(shutil.copytree(home.audit, folder / "before")), len(acknowledged)
    trace = folder / "trace"
    process = start_under(strace, home, "fdatasync,fsync:retval=0", trace)
    lying = dial(home, process)
    assert lying is not None
    for _ in range(30):
        append(lying, 150)
        lying.ask(wire.SYNC)
    kept = (home.audit / LOG / "checkpoint").read_bytes()
    append(lying, 90)  # acknowledged, and no checkpoint need cover it yet
    pid = int(lying.ask(wire.STATUS)["pid"])
    os.kill(pid, 9)
    wait_gone(pid)
    lying.close()
    process.wait(10)
    socket_path(home).unlink(missing_ok=True)
    assert trace.read_text().count("(INJECTED)") > 20  # the disk really lied
    cached = Path(shutil.copytree(home.audit, folder / "cached"))
    return Lie(before, cached, kept, acknowledged, flushed)


def standing(home: Home) -> dict[str, int]:
    """Every entry that the log's tiles hold, and where."""
    found: dict[str, int] = {}
    shard = shards(home.audit)[-1]
    text = shard.checkpoint.read_text().splitlines()
    size = int(text[1])
    for n in range((size + 255) // 256):
        for data in read_bundle(shard.folder, n, min(256, size - n * 256)):
            value = json.loads(data)
            found[value["id"]] = value["written"]["n"]
    return found


def missing(lie: Lie, home: Home) -> int:
    """How many acknowledged entries are gone, or stand elsewhere."""
    there = standing(home)
    return sum(there.get(i) != n for i, n in lie.acknowledged.items())


def verify(home: Home, *kept: bytes, newer_only: bool = False) -> Report:
    return verify_home(home.audit, Options(kept=kept, newer_only=newer_only, processes=1))


def start(home: Home) -> subprocess.CompletedProcess[str]:
    """Start the real writer; it leaves at once when it refuses, else it is asked to stop."""
    command = [sys.executable, "-m", "appliance.audit.writer", "--home", str(home.root), "--stay"]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    if dial(home, process) is not None:
        stop_writer(home)
    out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess(command, process.returncode, out.decode(), err.decode())


def test_everything_unflushed_is_lost_and_the_log_opens_earlier(lie: Lie, tmp_path: Path) -> None:
    home = lie.home(tmp_path / "home", lie.before)
    done = start(home)
    assert (done.returncode, done.stderr) == (0, "")
    report = verify(home)
    assert report.ok, report.problems
    assert missing(lie, home) == len(lie.acknowledged) - lie.flushed
    for newer_only in (False, True):
        report = verify(home, lie.kept, newer_only=newer_only)
        [problem] = report.problems
        assert problem.name == "older-copy"
        signed = int(lie.kept.decode().splitlines()[1])
        assert problem.what == f"{signed} entries were signed and kept, {report.size} are here"


def test_the_loss_shows_as_another_history_once_the_log_has_grown_over_it(
    lie: Lie, tmp_path: Path
) -> None:
    home = lie.home(tmp_path / "home", lie.before)
    sink = connect(home)
    for _ in range(5):
        sink.append([body() for _ in range(1000)])
    sink.close()
    stop_writer(home)
    assert verify(home).ok
    assert [p.name for p in verify(home, lie.kept).problems] == ["fork"]


def test_the_command_says_what_is_missing(lie: Lie, tmp_path: Path) -> None:
    home = lie.home(tmp_path / "home", lie.before)
    kept = tmp_path / "kept"
    kept.write_bytes(lie.kept)
    command = [sys.executable, "-m", "appliance.cli.main", "audit", "verify", "--json"]
    environment = {**os.environ, "APPLIANCE_HOME": str(home.root)}
    for more in ([], ["--newer-only"]):
        done = subprocess.run(
            [*command, "--since", str(kept), *more],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        answer = json.loads(done.stdout)
        assert answer["ok"] is False
        assert "entries were signed and kept" in answer["problems"][0]["what"]


def put(target: Path, source: Path) -> None:
    """Replace ``target`` by ``source``."""
    if target.is_dir():
        shutil.rmtree(target)
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def test_the_write_ahead_file_is_lost_and_the_writer_refuses(lie: Lie, tmp_path: Path) -> None:
    """The checkpoint reached the disk by another way: the log must not go on from an older end."""
    home = lie.home(tmp_path / "home", lie.cached)
    put(home.audit / LOG / "wal", lie.before / LOG / "wal")
    done = start(home)
    assert done.returncode not in {0, 1, 2}
    assert "[audit-log-damaged] expected a checkpoint over" in done.stderr
    assert "Traceback" not in done.stderr
    report = verify(home, lie.kept)
    assert not report.ok
    assert all(p.place and p.what for p in report.problems)


def first_of_the_segments(home: Home) -> int:
    wal = sorted((home.audit / LOG / "wal").iterdir())
    return int(wal[0].stem.removeprefix("wal-"))


def test_the_newest_tiles_are_lost_and_the_write_ahead_file_makes_them_again(
    lie: Lie, tmp_path: Path
) -> None:
    home = lie.home(tmp_path / "home", lie.cached)
    first = first_of_the_segments(home)
    tiles = home.audit / LOG / "tile"
    gone = 0
    for path in [p for p in tiles.rglob("*") if p.is_file()]:
        level, n, _ = parse_path(path.relative_to(tiles.parent).as_posix())
        if level in {"entries", 0} and n * 256 >= first:
            path.unlink()
            gone += 1
    assert gone > 2
    done = start(home)
    assert (done.returncode, done.stderr) == (0, "")
    assert missing(lie, home) == 0
    report = verify(home, lie.kept)
    assert report.ok, report.problems


def test_older_tiles_are_lost_and_the_verification_names_each(lie: Lie, tmp_path: Path) -> None:
    """They were to be flushed before their segment went; the lie made that worthless."""
    home = lie.home(tmp_path / "home", lie.cached)
    first = first_of_the_segments(home)
    assert first > 1024, "segments were removed while the disk lied"
    put(home.audit / LOG / "tile/entries/003", lie.before / LOG / "log.vkey")
    (home.audit / LOG / "tile/entries/002").unlink()
    (home.audit / LOG / "tile/0/002").write_bytes(bytes(256 * 32))
    places = {p.place for p in verify(home, lie.kept).problems}
    assert {f"{LOG}: tile/entries/002", f"{LOG}: tile/entries/003"} <= places
    done = start(home)
    assert "Traceback" not in done.stderr
    places = {p.place for p in verify(home, lie.kept).problems}
    assert {f"{LOG}: tile/entries/002", f"{LOG}: tile/entries/003"} <= places


def test_tiles_and_checkpoint_are_lost_beyond_the_segments_and_the_writer_refuses(
    lie: Lie, tmp_path: Path
) -> None:
    home = lie.home(tmp_path / "home", lie.cached)
    put(home.audit / LOG / "checkpoint", lie.before / LOG / "checkpoint")
    put(home.audit / LOG / "tile", lie.before / LOG / "tile")
    done = start(home)
    assert done.returncode not in {0, 1, 2}
    assert "[audit-log-damaged] expected a checkpoint over" in done.stderr
    assert "older-copy" in {p.name for p in verify(home, lie.kept).problems}


def lost(old: bytes | None, new: bytes, how: str, dice: random.Random) -> bytes | None:
    """What a disk may have of a file that was never flushed."""
    if how == "old":
        return old
    if how == "empty":
        return b""
    if how == "zeroes":
        return bytes(len(new))
    if how == "cut":
        return new[: dice.randrange(0, len(new) + 1, PAGE)]
    if how == "holes":
        pages = [new[i : i + PAGE] for i in range(0, len(new), PAGE)]
        return b"".join(p if dice.random() < 0.7 else bytes(len(p)) for p in pages)
    return new


def scatter(lie: Lie, audit: Path, dice: random.Random) -> None:
    """Put every file that the lying writer touched as some disk may have it."""
    kinds = ["new", "old", "empty", "zeroes", "cut", "holes"]
    few = dice.random() < 0.5  # one or two files lost, or about half of them
    names = {p.relative_to(r) for r in (lie.before, lie.cached) for p in r.rglob("*")}
    files = sorted(n for n in names if not (lie.cached / n).is_dir())
    changed = [
        n for n in files if read(lie.before / n) != read(lie.cached / n) and n.parts[0] == LOG
    ]
    chosen = dice.sample(changed, 2) if few else [n for n in changed if dice.random() < 0.5]
    for name in chosen:
        old, new = read(lie.before / name), read(lie.cached / name)
        data = lost(old, new, dice.choice(kinds), dice) if new is not None else old
        path = audit / name
        if data is None:
            path.unlink(missing_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


@pytest.mark.parametrize("seed", range(80))
def test_any_mixture_of_lost_pages_is_refused_or_named(
    lie: Lie, tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    home = lie.home(tmp_path / "home", lie.cached)
    scatter(lie, home.audit, random.Random(seed))  # noqa: S311 - the same mixture at every run
    report = verify(home, lie.kept)
    assert report.ok or all(p.place and p.what for p in report.problems)
    signed = int(lie.kept.decode().splitlines()[1])
    if report.ok:
        assert report.size >= signed
        covered = {i for i, n in lie.acknowledged.items() if n < signed}
        assert covered <= standing(home).keys()
    writer = Writer(home, load_settings(home.settings_file).audit)
    try:
        log = writer.open()
    except ApplianceError as error:
        record_property("outcome", error.id)
        return  # in words: the class demands expected and found
    writer.close(log, "asked", tiles=True)
    report = verify(home, lie.kept)
    record_property("outcome", "whole" if report.ok else report.problems[0].name)
    if report.ok:
        covered = {i for i, n in lie.acknowledged.items() if n < signed}
        assert covered <= standing(home).keys()
    else:
        assert all(p.place and p.what for p in report.problems)
