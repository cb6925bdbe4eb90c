from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.audit import wire
from appliance.audit.client import SocketSink, _connect, connect
from appliance.audit.event import encode, make_event, new_id
from appliance.audit.index import Filter, open_index
from appliance.audit.layout import current_shard, shards
from appliance.audit.peers import socket_path
from appliance.audit.recorder import open_recorder
from appliance.audit.tiles import read_bundle
from appliance.audit.verify import Options, verify_home
from appliance.core.errors import (
    AuditEntryRefusedError,
    AuditFullError,
    AuditUnavailableError,
    BusyError,
)
from appliance.core.home import Home
from tests.integration.audit.conftest import kill_writer, stop_writer, wait_gone

Dial = Callable[[], SocketSink]


def body(**more: Any) -> bytes:
    fields = {
        "id": new_id(),
        "time": "2026-01-02T03:04:05.000006Z",
        "counter": 1,
        "phase": "event",
        "action": "data.import",
        "type": "110107",
        "crude": "C",
        "component": "import",
    }
    return encode(make_event(**{**fields, **more}))


def entry(home: Home, index: int) -> dict[str, Any]:
    data = read_bundle(current_shard(home).folder, index // 256, index % 256 + 1)[-1]
    value: dict[str, Any] = json.loads(data)
    return value


def test_the_first_client_starts_the_writer_which_outlives_it(home: Home, writer: Dial) -> None:
    script = (
        "import os; from pathlib import Path; from appliance.core.home import Home;"
        "from appliance.audit.recorder import open_recorder;"
        "r = open_recorder(Home(Path(os.environ['APPLIANCE_HOME'])), 'test');"
        "print(r.event('data.import').index)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert int(done.stdout) == 2
    with open_recorder(home, "test") as recorder:
        assert recorder.event("data.import").index == 3


def test_a_checkpoint_covers_an_entry_within_two_seconds(home: Home, writer: Dial) -> None:
    sink = writer()
    (index,) = sink.append([body()])
    deadline = time.monotonic() + 2
    while sink.ask(wire.STATUS)["signed_size"] <= index:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert entry(home, index)["written"]["n"] == index


def test_nothing_acknowledged_is_lost_or_doubled_when_the_writer_is_killed(
    home: Home, writer: Dial
) -> None:
    chosen = random.Random(7)  # noqa: S311 - which moment to kill at, no secret
    acknowledged: dict[str, int] = {}
    for _ in range(4):
        sink = writer()
        pid = int(sink.ask(wire.STATUS)["pid"])
        timer = threading.Timer(chosen.uniform(0.02, 0.5), os.kill, (pid, signal.SIGKILL))
        timer.start()
        try:
            for _ in range(5000):
                ids = [new_id() for _ in range(chosen.randrange(1, 60))]
                places = sink.append([body(id=i, user="u" * 100) for i in ids])
                acknowledged.update(zip(ids, places, strict=True))
        except AuditUnavailableError:
            pass
        timer.join()
        wait_gone(pid)
    writer().ask(wire.SYNC)
    stop_writer(home)
    assert len(acknowledged) > 200
    report = verify_home(home.audit, Options())
    assert report.ok, report.problems
    found: dict[str, list[int]] = {}
    for n in range((report.size + 255) // 256):
        for data in read_bundle(current_shard(home).folder, n, min(256, report.size - n * 256)):
            value = json.loads(data)
            found.setdefault(value["id"], []).append(value["written"]["n"])
    assert {i: found.get(i) for i in acknowledged} == {i: [n] for i, n in acknowledged.items()}


def test_a_killed_writer_comes_back_when_segments_turn_faster_than_checkpoints(
    home: Home,
) -> None:
    home.settings_file.write_text(
        "[audit]\ncheckpoint_interval_s = 60\nwal_segment_bytes = 1048576\n", encoding="utf-8"
    )
    padding = {f"h{n}": "f" * 200 for n in range(20)}
    places: list[int] = []
    sink = connect(home)
    for _ in range(16):
        places += sink.append([body(detail=padding) for _ in range(64)])
    sink.close()
    kill_writer(home)
    with open_recorder(home, "test") as recorder:
        assert recorder.event("data.import").index > places[-1]
    stop_writer(home)
    assert places == list(range(2, 1026))
    assert verify_home(home.audit, Options()).ok


def test_open_intents_are_bounded_by_declaring_the_oldest_unknown(home: Home) -> None:
    home.settings_file.write_text("[audit]\nopen_intents = 2\n", encoding="utf-8")
    with open_recorder(home, "test") as recorder:
        ids = [recorder.intent("data.import").id for _ in range(4)]
        sink = connect(home)
        deadline = time.monotonic() + 10
        while sink.ask(wire.STATUS)["open_intents"] > 2:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        sink.close()
    stop_writer(home)
    with open_index(home.audit) as index:
        assert [len(index.outcomes_of(ident)) for ident in ids] == [1, 1, 0, 0]


def test_an_intent_left_by_a_crash_becomes_an_unknown_outcome(home: Home) -> None:
    with open_recorder(home, "models") as recorder:
        left = recorder.intent("models.promote", object_id="m1")
        answered = recorder.intent("models.promote", object_id="m2")
        recorder.outcome(answered)
        kill_writer(home)
    with open_recorder(home, "models") as recorder:
        recorder.event("models.list")
    stop_writer(home)
    with open_index(home.audit) as index:
        outcomes = index.outcomes_of(left.id)
        assert [(o.outcome, o.object_id, o.component) for o in outcomes] == [
            ("unknown", "m1", "audit")
        ]
        assert [o.outcome for o in index.outcomes_of(answered.id)] == ["success"]


def test_there_is_never_a_second_writer(home: Home, writer: Dial) -> None:
    writer()
    command = [sys.executable, "-m", "appliance.audit.writer", "--home", str(home.root)]
    assert subprocess.run(command, check=False).returncode == BusyError.exit_code


@pytest.mark.parametrize(
    "attack",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(4096),
        wire.HEADER.pack(wire.MAGIC, wire.APPEND, 2**32 - 1),
        wire.HEADER.pack(wire.MAGIC, 99, 0),
    ],
    ids=["http", "noise", "huge-frame", "unknown-kind"],
)
def test_garbage_frames_are_refused_and_the_writer_stays(
    home: Home, writer: Dial, attack: bytes
) -> None:
    sink = writer()
    raw = _connect(home, 5)
    raw.sendall(attack)
    answer = bytearray()
    while data := raw.recv(4096):
        answer += data
    (frame,) = wire.take_frames(answer, wire.ANSWERS)
    assert frame.kind == wire.REFUSED
    raw.close()
    assert sink.append([body()])


@pytest.mark.parametrize(
    "attack",
    [
        b"x" * 65_536,
        body().replace(b"data.import", b"data.\xff\xfe"),
        b"",
        body()[:-1] + b',"written":{"at":"x","log":1,"n":0,"pid":1,"uid":0}}',
        body(component="audit"),
        body(detail={"a": 1}).replace(b'"a":1', b'"a":"529.982.247-25"'),
    ],
    ids=["65536-bytes", "invalid-utf8", "empty", "forged-stamp", "writers-name", "cpf"],
)
def test_entries_that_may_not_stand_are_refused_and_the_writer_stays(
    home: Home, writer: Dial, attack: bytes
) -> None:
    sink = writer()
    before = sink.ask(wire.STATUS)["size"]
    with pytest.raises(Exception) as caught:  # noqa: PT011 - two classes of the tree, checked next
        sink.append([body(), attack])
    assert type(caught.value).__name__ in {"AuditEntryRefusedError", "AuditPeerRefusedError"}
    assert sink.append([body()]) == [before]


def test_too_many_entries_in_a_request_are_refused(home: Home, writer: Dial) -> None:
    with pytest.raises(AuditEntryRefusedError, match="1 to 1024"):
        writer().append([body()] * 1025)


def test_a_peer_that_leaves_in_the_middle_of_a_frame_harms_nobody(home: Home, writer: Dial) -> None:
    sink = writer()
    raw = _connect(home, 5)
    raw.sendall(wire.append_frame([body()])[:-3])
    raw.close()
    assert sink.append([body()])


@pytest.mark.root
def test_a_foreign_user_is_refused_and_noted(home: Home, writer: Dial) -> None:
    sink = writer()
    for folder in (home.root, home.run, *home.root.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    socket_path(home).chmod(0o666)
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.settimeout(10); s.connect(sys.argv[1])\n"
        "data = b''\n"
        "while part := s.recv(4096): data += part\n"
        "print(data.decode('latin-1'))"
    )
    done = subprocess.run(
        ["/usr/bin/env", "python3", "-c", script, os.path.relpath(socket_path(home), home.root)],
        capture_output=True,
        check=True,
        cwd=home.root,
        user=65534,
        group=65534,
    )
    assert b"audit-peer-refused" in done.stdout
    sink.ask(wire.SYNC)
    with open_index(home.audit) as index:
        (row,) = index.search(Filter(action="audit.peer_refused"))
        assert index.entry(row.log, row.n)["detail"] == {"peer_uid": 65534}


def test_a_home_deeper_than_a_socket_address_works(tmp_path: Path) -> None:
    home = Home(tmp_path / ("a" * 90) / ("b" * 90)).prepare()
    with open_recorder(home, "test") as recorder:
        assert recorder.event("data.import").index == 2
    stop_writer(home)


@pytest.mark.root
def test_the_log_works_where_there_is_no_network(home: Home) -> None:
    script = (
        "from pathlib import Path; from appliance.core.home import Home;"
        "from appliance.audit.recorder import open_recorder;"
        f"r = open_recorder(Home(Path({str(home.root)!r})), 'test');"
        "print(r.event('data.import').index)"
    )
    command = ["unshare", "-n", sys.executable, "-c", script]
    assert int(subprocess.run(command, capture_output=True, check=True).stdout) == 2
    stop_writer(home)


def test_the_stop_is_the_last_entry_and_signed(home: Home, writer: Dial) -> None:
    writer().append([body()])
    stop_writer(home)
    report = verify_home(home.audit, Options())
    assert report.ok and not report.notes
    assert entry(home, report.size - 1)["action"] == "audit.stopped"


def test_an_idle_writer_leaves_and_the_next_client_starts_another(home: Home) -> None:
    home.settings_file.write_text("[audit]\nidle_exit_s = 0.2\n", encoding="utf-8")
    with open_recorder(home, "test") as recorder:
        recorder.event("data.import")
        sink = connect(home, start=False)
        pid = int(sink.ask(wire.STATUS)["pid"])
        sink.close()
    wait_gone(pid)
    assert not socket_path(home).exists()
    with open_recorder(home, "test") as recorder:
        assert recorder.event("data.import").index == 5
    stop_writer(home)


def test_a_recorder_comes_back_after_its_writer_was_replaced(home: Home) -> None:
    with open_recorder(home, "test") as recorder:
        recorder.event("data.import")
        kill_writer(home)
        with pytest.raises(AuditUnavailableError):
            recorder.event("data.import")
        refused = 0
        while True:  # a call may still meet the connection that died; then a new writer answers
            try:
                recorder.event("data.import")
            except AuditUnavailableError:
                refused += 1
                assert refused <= 3
            else:
                break
    stop_writer(home)
    assert verify_home(home.audit, Options()).ok


def test_threads_share_a_recorder(home: Home) -> None:
    indices: list[int] = []
    with open_recorder(home, "test") as recorder:

        def work() -> None:
            indices.extend(recorder.event("data.import").index for _ in range(50))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    stop_writer(home)
    assert sorted(indices) == list(range(2, 402))


def test_rotation_chains_the_logs_and_destroys_the_old_key(home: Home, writer: Dial) -> None:
    with open_recorder(home, "test") as recorder:
        left = recorder.intent("models.promote", object_id="m1")
        sink = writer()
        assert sink.ask(wire.ROTATE)["log"] == 2
        recorder.outcome(left)
        assert sink.ask(wire.ROTATE)["log"] == 3
        assert recorder.event("data.import").index == 1
    stop_writer(home)
    report = verify_home(home.audit, Options())
    assert report.ok, report.problems
    assert [s.number for s in shards(home.audit)] == [1, 2, 3]
    assert [p.name for p in (home.audit / "keys").iterdir()] == ["0003.key"]
    assert len({s.verifier.public_key for s in shards(home.audit)}) == 3


@pytest.mark.root
def test_a_full_disk_refuses_entries_and_the_stop_is_still_logged(tmp_path: Path) -> None:
    mount = tmp_path / "small"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(mount)], check=True)
    try:
        home = Home(mount / "home").prepare()
        sink = connect(home)
        ballast = mount / "ballast"
        with ballast.open("wb") as stream:
            stream.write(b"x" * (16 << 20))
        padding = {f"h{n}": "f" * 200 for n in range(40)}
        places: list[int] = []
        with pytest.raises(AuditFullError):
            for _ in range(2000):
                places += sink.append([body(detail=padding) for _ in range(16)])
        assert places
        with pytest.raises(AuditFullError):
            sink.append([body()])
        sink.close()
        stop_writer(home)
        report = verify_home(home.audit, Options())
        assert report.ok, report.problems
        assert entry(home, report.size - 1)["action"] == "audit.stopped"
        assert not (home.audit / "reserve").exists()
        ballast.unlink()
        with open_recorder(home, "test") as recorder:
            assert recorder.event("data.import").index > places[-1]
        stop_writer(home)
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_stranger_on_the_path_of_the_socket_is_no_log(home: Home) -> None:
    stranger = socket.socket(socket.AF_UNIX)
    stranger.bind(os.path.relpath(socket_path(home)))
    stranger.listen()
    home.settings_file.write_text("[audit]\nreply_timeout_s = 0.3\n", encoding="utf-8")
    with pytest.raises(AuditUnavailableError):
        open_recorder(home, "test")
    stranger.close()
