from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit import wire
from appliance.core.errors import AuditEntryRefusedError, AuditFullError


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=9), st.integers(1, 40))
def test_frames_survive_any_cutting_of_the_stream(bodies: list[bytes], step: int) -> None:
    stream = wire.append_frame(bodies) + wire.frame(wire.STATUS)
    buffer = bytearray()
    found: list[wire.Frame] = []
    for start in range(0, len(stream), step):
        buffer += stream[start : start + step]
        found += wire.take_frames(buffer, wire.REQUESTS)
    assert [f.kind for f in found] == [wire.APPEND, wire.STATUS]
    assert wire.entries_of(found[0].payload, 10) == bodies


@given(st.binary(min_size=wire.HEADER.size, max_size=80))
def test_garbage_is_refused_or_waited_for_and_never_a_crash(data: bytes) -> None:
    if data.startswith(wire.MAGIC):
        data = b"X" + data
    with pytest.raises(AuditEntryRefusedError):
        wire.take_frames(bytearray(data), wire.REQUESTS)


@given(st.binary(max_size=80))
def test_a_garbled_append_is_refused_or_read_and_never_a_crash(data: bytes) -> None:
    try:
        entries = wire.entries_of(data, 8)
    except AuditEntryRefusedError:
        return
    assert b"".join(wire.LENGTH.pack(len(e)) + e for e in entries) == data


def test_a_frame_that_is_too_long_is_refused_by_its_length() -> None:
    head = wire.HEADER.pack(wire.MAGIC, wire.APPEND, wire.MAX_FRAME_BYTES + 1)
    with pytest.raises(AuditEntryRefusedError, match="bytes"):
        wire.take_frames(bytearray(head), wire.REQUESTS)


def test_errors_keep_their_class_on_the_way() -> None:
    from appliance.audit.client import _error_of

    sent = AuditFullError(expected="space", found="ENOSPC")
    frame = wire.take_frames(bytearray(wire.refused_frame(sent)), wire.ANSWERS)[0]
    error = _error_of(frame)
    assert isinstance(error, AuditFullError)
    assert (error.expected, error.found) == ("space", "ENOSPC")
