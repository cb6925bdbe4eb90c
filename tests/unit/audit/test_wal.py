from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit import wal
from appliance.audit.frontier import Frontier
from appliance.core.errors import AuditLogDamagedError

ENTRIES = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5)


def segment(groups: list[list[bytes]], start: int = 0, origin: str = "o") -> bytes:
    head = wal.SegmentHead(origin, start, (), {"a" * 32: 3}, "t")
    return head.encode() + b"".join(wal.record(wal.pack_entries(g)) for g in groups)


@given(st.lists(ENTRIES, min_size=1, max_size=4))
def test_groups_come_back_as_written(groups: list[list[bytes]]) -> None:
    scanned = wal.scan(segment(groups))
    assert [wal.unpack_entries(p) for p in scanned.payloads[1:]] == groups
    assert wal.SegmentHead.decode(scanned.payloads[0]).open_intents == {"a" * 32: 3}
    assert not scanned.trouble


@given(st.lists(ENTRIES, min_size=1, max_size=3), st.data())
def test_a_cut_at_any_byte_leaves_the_whole_groups_before_it(
    groups: list[list[bytes]], data: st.DataObject
) -> None:
    whole = segment(groups)
    cut = data.draw(st.integers(0, len(whole) - 1))
    scanned = wal.scan(whole[:cut])
    assert scanned.end <= cut
    assert whole[: scanned.end] == whole[:cut][: scanned.end]
    assert scanned.trouble in {"", "unfinished"}
    assert (scanned.trouble == "") == (scanned.end == cut)


def test_a_change_of_any_byte_is_damage_and_never_a_torn_end() -> None:
    whole = bytearray(segment([[b"one", b"two"], [b"three"]]))
    for position in range(len(whole)):
        for bit in (1, 128):
            whole[position] ^= bit
            assert wal.scan(bytes(whole)).trouble == "damaged", position
            whole[position] ^= bit


def test_zeroes_where_a_record_should_be_are_damage() -> None:
    assert wal.scan(segment([[b"a"]]) + bytes(64)).trouble == "damaged"


def write(folder: Path, start: int, data: bytes) -> None:
    (folder / wal.segment_name(start)).write_bytes(data)


def frontier_of(entries: list[bytes]) -> Frontier:
    tree = Frontier()
    tree.append(entries)
    return tree


def test_overlapping_segments_join(tmp_path: Path) -> None:
    entries = [b"%d" % n for n in range(300)]
    write(tmp_path, 0, segment([entries[:280]]))
    head = frontier_of(entries[:280]).head("o", {}, "")
    rest = wal.record(wal.pack_entries(entries[256:]))
    write(tmp_path, 256, head.encode() + rest)
    found = wal.read_segments(tmp_path, "o")
    assert found is not None
    assert found.entries == entries


@pytest.mark.parametrize("attack", ["gap", "other-entries", "other-log", "torn-first", "headless"])
def test_segments_that_do_not_belong_together_are_damage(tmp_path: Path, attack: str) -> None:
    entries = [b"%d" % n for n in range(300)]
    head = frontier_of(entries[:280]).head("o", {}, "")
    first, second = (
        segment([entries[:280]]),
        head.encode() + wal.record(wal.pack_entries(entries[256:])),
    )
    if attack == "gap":
        first = segment([entries[:200]])
    elif attack == "other-entries":
        first = segment([[b"x", *entries[1:270], b"y" * 3, *entries[271:280]]])
    elif attack == "other-log":
        first = segment([entries[:280]], origin="p")
    elif attack == "torn-first":
        first = first[:-1]
    else:
        second = b""
    write(tmp_path, 0, first)
    write(tmp_path, 256, second)
    with pytest.raises(AuditLogDamagedError):
        wal.read_segments(tmp_path, "o")
