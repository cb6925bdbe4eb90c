from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.core.errors.host import EgressCounterError
from appliance.core.settings.host import HostSettings, Networks, Outbound
from appliance.host.dns_sink import MORE, Asked, Sink, question, refusal
from appliance.host.egress import Counted, counted, declared_networks, mark, ruleset, since

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)


def query(name: str, ident: int = 7) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".") if part)
    return struct.pack("!6H", ident, 0x0100, 1, 0, 0, 0) + labels + b"\0" + b"\0\x01\0\x01"


@given(st.lists(LABEL, min_size=1, max_size=4))
def test_the_name_that_was_asked_is_read(labels: list[str]) -> None:
    name = ".".join(labels)
    message = query(name)
    found = question(message)
    assert found is not None
    assert found[0] == name.lower()
    reply = refusal(message, found[1])
    assert reply[:2] == message[:2]
    assert reply[3] & 0x0F == 3  # NXDOMAIN
    assert reply[12:] == message[12:]


@given(st.binary(max_size=600))
def test_no_message_breaks_the_sink(message: bytes) -> None:
    sink = Sink(Asked(10))
    reply = sink.answer(message)
    assert (reply is None) == (sink.asked.names == {})


def test_a_compressed_name_and_an_answer_are_no_questions() -> None:
    assert question(query("a.b")[:12] + b"\xc0\x0c\0\x01\0\x01") is None
    assert question(b"\0\x07\x81\x80" + query("a.b")[4:]) is None


def test_odd_bytes_in_a_name_are_escaped() -> None:
    message = struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\x03a\n\xff\0\0\x01\0\x01"
    found = question(message)
    assert found is not None
    assert found[0] == "a\\010\\255"


def test_a_program_in_a_loop_does_not_fill_the_memory() -> None:
    asked = Asked(3)
    for number in range(100):
        asked.add(f"n{number}.invalid")
    asked.add("n1.invalid")
    assert asked.names == {"n0.invalid": 1, "n1.invalid": 2, "n2.invalid": 1, MORE: 97}
    assert sum(asked.take().values()) == 101
    assert asked.names == {}


def test_the_sink_answers_over_udp_and_tcp() -> None:
    sink = Sink(Asked(10))

    def ask(port: int) -> tuple[bytes, bytes]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            udp.settimeout(10)
            udp.sendto(query("updates.invalid"), ("127.0.0.1", port))
            over_udp = udp.recv(512)
        with socket.create_connection(("127.0.0.1", port), 10) as tcp:
            message = query("time.invalid")
            tcp.sendall(len(message).to_bytes(2, "big") + message)
            over_tcp = tcp.makefile("rb").read()[2:]
        return over_udp, over_tcp

    async def main() -> tuple[bytes, bytes]:
        await sink.start("127.0.0.1", 0)
        try:
            return await asyncio.to_thread(ask, sink.port)
        finally:
            await sink.stop()

    replies = asyncio.run(main())
    assert [reply[3] & 0x0F for reply in replies] == [3, 3]
    assert sink.asked.names == {"updates.invalid": 1, "time.invalid": 1}


SITE = HostSettings(
    networks=Networks(clients=("10.2.0.0/16",)),
    outbound=(Outbound(to="10.9.9.9/32", port=514, reason="the log server"),),
    time_servers=("10.9.9.1", "ntp.hospital"),
)


def test_only_what_is_declared_is_no_attempt() -> None:
    assert declared_networks(SITE) == ("10.2.0.0/16", "10.9.9.1/32", "10.9.9.9/32", "172.30.0.0/16")
    text = ruleset(declared_networks(SITE), SITE.container_pool)
    assert (
        "elements = { 10.2.0.0/16, 10.9.9.1/32, 10.9.9.9/32, 127.0.0.0/8, 172.30.0.0/16 }" in text
    )
    assert "elements = { ::1/128 }" in text


NOW = Counted(5, 2, {"192.0.2.1 tcp": 5}, 9)


def test_since_counts_what_came_after_the_last_report() -> None:
    later = Counted(8, 2, {"192.0.2.1 tcp": 6, "192.0.2.2 udp": 2}, 9)
    fresh, gap = since(later, mark(NOW, "boot-1"), "boot-1")
    assert (fresh.host, fresh.containers, gap) == (3, 0, False)
    assert fresh.destinations == {"192.0.2.1 tcp": 1, "192.0.2.2 udp": 2}


@pytest.mark.parametrize(("boot", "handle"), [("boot-2", 9), ("boot-1", 10)])
def test_after_a_restart_everything_counts_and_a_gap_is_said(boot: str, handle: int) -> None:
    fresh, gap = since(Counted(1, 0, {}, handle), mark(NOW, "boot-1"), boot)
    assert (fresh.host, gap) == (1, True)


def test_a_listing_without_the_counters_is_no_zero() -> None:
    with pytest.raises(EgressCounterError):
        counted({"nftables": [{"table": {"handle": 3}}]})
