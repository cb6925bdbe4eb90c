"""The baselines of `audit bench`: what this disk does for simpler ways of keeping records."""

from __future__ import annotations

import importlib.util
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

GROUP = 256
ONE_BY_ONE_S = 2.0  # a baseline that flushes each record runs for a time, not for a number


def _rate(step: Callable[[int], None], count: int, seconds: float) -> int:
    """Return records a second; ``step`` takes a number of records."""
    done, started = 0, time.perf_counter()
    while done < count and time.perf_counter() - started < seconds:
        step(done)
        done += 1
    return round(done / (time.perf_counter() - started))


def raw_file(folder: Path, count: int, size: int, group: int) -> int:
    """Return records a second of plain appends with one ``fdatasync`` a group."""
    record = os.urandom(size)
    fd = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:

        def step(_: int) -> None:
            os.write(fd, record * group)
            os.fdatasync(fd)

        return _rate(step, count // group, ONE_BY_ONE_S * 2) * group
    finally:
        os.close(fd)
        (folder / "raw").unlink()


def sqlite_wal(folder: Path, count: int, size: int, group: int) -> int:
    """Return records a second of SQLite in WAL mode with ``synchronous=FULL``."""
    path = folder / "baseline.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("CREATE TABLE log (id INTEGER PRIMARY KEY, entry BLOB)")
        record = os.urandom(size)

        def step(_: int) -> None:
            db.execute("BEGIN")
            db.executemany("INSERT INTO log (entry) VALUES (?)", [(record,)] * group)
            db.execute("COMMIT")

        return _rate(step, count // group, ONE_BY_ONE_S * 2) * group
    finally:
        db.close()
        for left in folder.glob("baseline.sqlite*"):
            left.unlink()


def pymerkle_sqlite(folder: Path, count: int, size: int) -> int | None:
    """Return records a second of pymerkle's SQLite tree; ``None`` where it is not installed."""
    if importlib.util.find_spec("pymerkle") is None:
        return None
    from pymerkle import SqliteTree

    path = folder / "pymerkle.sqlite"
    tree: Any = SqliteTree(str(path))
    record = os.urandom(size)

    def step(_: int) -> None:
        tree.append_entry(record)

    try:
        return _rate(step, count, ONE_BY_ONE_S)
    finally:
        tree.con.close()
        path.unlink(missing_ok=True)


def baselines(folder: Path, count: int, size: int) -> dict[str, int | None]:
    """Return entries a second of every baseline, on the file system of ``folder``."""
    return {
        "raw_file_fdatasync_each": raw_file(folder, count, size, 1),
        "raw_file_fdatasync_per_256": raw_file(folder, count, size, GROUP),
        "sqlite_wal_full_each": sqlite_wal(folder, count, size, 1),
        "sqlite_wal_full_per_256": sqlite_wal(folder, count, size, GROUP),
        "pymerkle_sqlite_each": pymerkle_sqlite(folder, count, size),
    }
