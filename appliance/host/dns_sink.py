"""A name server on loopback that knows no name: every question is counted and answered NXDOMAIN.

On a machine without internet nothing has a reason to ask for a name. What asks is found by what
it asked for; the names stay on this machine, in a file only root reads.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, cast

_HEADER: Final = struct.Struct("!6H")
_NXDOMAIN: Final = 3
_RESPONSE: Final = 0x8000
_RECURSION: Final = 0x0100
_MAX_LABEL: Final = 63
_MAX_NAME: Final = 253
_MAX_MESSAGE: Final = 4096  # more than RFC 6891 advises for UDP; questions are below 300 bytes
_TCP_SECONDS: Final = 5.0
MORE = "(more names)"


def question(message: bytes) -> tuple[str, bytes] | None:
    """Return the first question's name and the question's bytes, or None for what is no query.

    RFC 1035 4.1.2; compression has no place in a first question, so a pointer is refused.
    """
    if len(message) < _HEADER.size:
        return None
    _, flags, count, *_ = _HEADER.unpack_from(message)
    if flags & _RESPONSE or count != 1:
        return None
    labels = []
    at = _HEADER.size
    while at < len(message) and (size := message[at]):
        if size > _MAX_LABEL or at + 1 + size > len(message):
            return None
        labels.append(_readable(message[at + 1 : at + 1 + size]))
        at += 1 + size
    end = at + 5
    if end > len(message) or sum(map(len, labels)) + len(labels) > _MAX_NAME * 4:
        return None
    return ".".join(labels).lower() or ".", message[_HEADER.size : end]


def _readable(label: bytes) -> str:
    """Write a label as text: letters, digits, - and _ as they are, the rest escaped."""
    return "".join(
        chr(b) if chr(b).isascii() and (chr(b).isalnum() or chr(b) in "-_") else f"\\{b:03d}"
        for b in label
    )


def refusal(message: bytes, asked: bytes) -> bytes:
    """Return NXDOMAIN to ``message``, repeating its question."""
    ident, flags, *_ = _HEADER.unpack_from(message)
    answer = _RESPONSE | (flags & (0x7800 | _RECURSION)) | 0x0080 | _NXDOMAIN
    return _HEADER.pack(ident, answer, 1, 0, 0, 0) + asked


@dataclass
class Asked:
    """The names of one day with their counts, at most ``limit`` different ones."""

    limit: int
    names: dict[str, int] = field(default_factory=dict)

    def add(self, name: str) -> None:
        """Count ``name``; when there are too many, only that there were more."""
        key = name if name in self.names or len(self.names) < self.limit else MORE
        self.names[key] = self.names.get(key, 0) + 1

    def take(self) -> dict[str, int]:
        """Return what was asked and begin anew."""
        taken, self.names = self.names, {}
        return taken


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's own class of datagram transports is none by name, only by its methods.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        reply = self._answer(data[:_MAX_MESSAGE])
        if reply is not None and self._transport is not None:
            self._transport.sendto(reply, addr)


class Sink:
    """The server: UDP and TCP on one address."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.port = 0
        self._udp: asyncio.DatagramTransport | None = None
        self._tcp: asyncio.Server | None = None

    def answer(self, message: bytes) -> bytes | None:
        """Count the question in ``message`` and return the answer; None for what is no query."""
        found = question(message)
        if found is None:
            return None
        self.asked.add(found[0])
        return refusal(message, found[1])

    async def start(self, host: str, port: int) -> None:
        """Listen; ``port`` 0 takes one that is free for both."""
        self._tcp = await asyncio.start_server(self._stream, host, port)
        self.port = self._tcp.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self.answer), local_addr=(host, self.port)
        )

    async def stop(self) -> None:
        """Stop listening."""
        if self._udp is not None:
            self._udp.close()
        if self._tcp is not None:
            self._tcp.close()
            await self._tcp.wait_closed()

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_TCP_SECONDS):
                size = int.from_bytes(await reader.readexactly(2), "big")
                if size <= _MAX_MESSAGE:
                    reply = self.answer(await reader.readexactly(size))
                    if reply is not None:
                        writer.write(len(reply).to_bytes(2, "big") + reply)
                        await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass  # it went away; what it asked is counted if it came whole
        finally:
            writer.close()
