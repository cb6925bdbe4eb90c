"""The one process that writes the log: ``python -m appliance.audit.writer --home FOLDER``.

Started by the first client that finds no socket (then it leaves when idle), or as a service with
``--stay``. It holds a lock, so that there is never a second one.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from pathlib import Path

from appliance import __version__
from appliance.audit.keyring import key_store
from appliance.audit.keys import KeyStore, check_signer, shard_origin
from appliance.audit.layout import REMOVED, RESERVE, shard_folder, shards
from appliance.audit.note import Signer
from appliance.audit.peers import socket_path
from appliance.audit.selftest import self_test
from appliance.audit.server import Server
from appliance.audit.shardlog import Place, ShardLog, tail_detail
from appliance.audit.wal import Replay
from appliance.audit.workers import disk_full
from appliance.core.clock import Clock, SystemClock
from appliance.core.durable import (
    exclusive,
    from_os_error,
    os_errors,
    sweep_temporaries,
    write_bytes,
)
from appliance.core.errors import ApplianceError, AuditFullError, BusyError
from appliance.core.home import Home
from appliance.core.settings import load_settings
from appliance.core.settings.audit import AuditSettings

LOCK_NAME = "audit-writer.lock"
SWITCH_INTERVAL_S = 0.0005  # the default of 5 ms would show in every acknowledgement


class Writer:
    """Opens the log, serves it, and closes it with a last entry and checkpoint."""

    def __init__(self, home: Home, settings: AuditSettings, clock: Clock | None = None) -> None:
        self.home = home
        self.audit = home.audit
        self.settings = settings
        self.clock = clock or SystemClock()
        self.keys: KeyStore = key_store(self.audit, settings)

    def open(self) -> ShardLog:
        """Open the newest shard, or make the first; say that recording started."""
        self_test()
        with os_errors(self.audit):
            self.audit.mkdir(parents=True, exist_ok=True, mode=0o750)
        sweep_temporaries(self.audit)
        reserve(self.audit / RESERVE, self.settings.reserve_bytes)
        found = shards(self.audit)
        if not found:
            log = ShardLog.create(self._place(1, self._new_key(1)))
            log.say("audit.shard_opened", {"previous": "none"})
        else:
            number = found[-1].number
            signer = self.keys.load(shard_origin(self.settings, number))
            check_signer(signer, shard_origin(self.settings, number))
            log, replay = ShardLog.recover(self._place(number, signer))
            self._tell_tail(log, replay)
        log.say("audit.started", {"version": __version__, "key": self.settings.key})
        self._settle_intents(log)
        log.commit_now()  # the segments stay as they are: flushing their tiles can wait
        return log

    def _new_key(self, number: int) -> Signer:
        name = shard_origin(self.settings, number)
        self.keys.destroy(name)  # of an attempt that was cut short: no shard used it
        signer = self.keys.create(name)
        check_signer(signer, name)
        return signer

    def _place(self, number: int, signer: Signer) -> Place:
        folder = shard_folder(self.audit, number)
        return Place(folder, number, signer, self.settings, self.clock)

    def _tell_tail(self, log: ShardLog, replay: Replay) -> None:
        """Say what was cut off the write-ahead file; keep it when it was not merely unfinished."""
        if not replay.tail:
            return
        detail = tail_detail(replay)
        if replay.trouble == "damaged":
            write_bytes(self.audit / REMOVED / f"{detail['sha256']}.bin", replay.tail)
        log.say("audit.tail_removed", detail)

    def _settle_intents(self, log: ShardLog) -> None:
        """Make every intent that a crash left without outcome an explicit unknown."""
        done = dict(log.open_intents)
        for ident, index in done.items():
            log.unknown_outcome(ident, index, log.read_entry(index))

    def rotate(self, log: ShardLog) -> ShardLog:
        """Close ``log`` with a final checkpoint and open the next shard, which begins with it.

        The key of the next shard is made first, so that the last entry of this one can name it:
        who trusts one key of the chain is led to the next by a signature of the one before.
        """
        number = log.number + 1
        place = self._place(number, self._new_key(number))
        opened = {ident: log.read_entry(at) for ident, at in log.open_intents.items()}
        log.say("audit.shard_closed", {"next": place.origin, "key": place.verifier.vkey})
        log.commit_now()
        log.settle()
        following = ShardLog.create(place)
        following.say(
            "audit.shard_opened",
            {
                "previous": log.origin,
                "size": log.frontier.size,
                "root": log.frontier.root().hex(),
            },
        )
        for ident, entry in opened.items():
            following.carry_intent(ident, entry)
        following.commit_now()
        log.close_for_good()
        self.keys.destroy(log.origin)
        return following

    def close(self, log: ShardLog, reason: str, *, tiles: bool) -> None:
        """Write the last entry and checkpoint; on a full disk the reserve pays for the entry.

        Without ``tiles`` (or without space for them) the write-ahead file keeps what is new, and
        the next start makes tiles and checkpoint of it.
        """
        log.say("audit.stopped", {"cause": reason})
        group = log.take_group()
        assert group is not None
        try:
            log.commit(group)
        except AuditFullError:
            self.release_reserve()
            log.commit(group)
        made = log.committed(group)
        if not tiles:
            return
        try:
            log.store.write(made)
            log.checkpoint_now()
            log.settle()
        except (ApplianceError, OSError) as error:
            known = error if isinstance(error, ApplianceError) else from_os_error(error, self.audit)
            if not disk_full(known):
                raise

    def release_reserve(self) -> None:
        """Give the reserved space back to the disk."""
        with contextlib.suppress(OSError):
            (self.audit / RESERVE).unlink()


def reserve(path: Path, size: int) -> None:
    """Hold ``size`` bytes of the disk for the last words; raises :class:`AuditFullError`."""
    try:
        if path.exists() and path.stat().st_blocks * 512 >= size:
            return
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
    except OSError as error:
        known = from_os_error(error, path)
        if disk_full(known):
            raise AuditFullError(expected=known.expected, found=known.found) from error
        raise known from error


def serve(home: Home, *, stay: bool) -> None:
    """Hold the lock, open the log, serve until the end, close the log."""
    settings = load_settings(home.settings_file).audit
    clock = SystemClock()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with exclusive(home.run / LOCK_NAME, what="audit writer"):
        writer = Writer(home, settings, clock)
        started = clock.monotonic()
        log = writer.open()
        server = Server(log, socket_path(home), settings, clock, stay=stay)
        server.opened_in_s = round(clock.monotonic() - started, 3)
        server.on_rotate = writer.rotate
        server.on_full = writer.release_reserve
        signal.signal(signal.SIGTERM, server.stop)
        signal.signal(signal.SIGINT, server.stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        server.run()
        if server.broken is not None:
            raise server.broken
        writer.close(server.log, "asked" if server.asked else "idle", tiles=not server.behind)
        with contextlib.suppress(OSError):
            socket_path(home).unlink()


def main(argv: list[str] | None = None) -> int:
    """Run the writer; the exit code is that of the error that ended it."""
    parser = argparse.ArgumentParser(prog="appliance.audit.writer", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the appliance's state folder")
    parser.add_argument("--stay", action="store_true", help="run as a service: never leave")
    options = parser.parse_args(argv)
    try:
        serve(Home(options.home.absolute()).prepare(), stay=options.stay)
    except BusyError:
        return BusyError.exit_code
    except ApplianceError as error:
        return _report(error)
    except OSError as error:
        return _report(from_os_error(error, Path(str(error.filename or "the audit folder"))))
    return 0


def _report(error: ApplianceError) -> int:
    sys.stderr.write(f"[{error.id}] expected {error.expected}; found {error.found}\n")
    return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
