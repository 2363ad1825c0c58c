"""A proxy before a dependency that ends TLS for it, as an ingress does, and that can break in nine ways.

It speaks TLS to the client and plain TCP to the dependency on this machine. Because it sees the plain bytes, an answer
can be cut in the middle of its body or be garbage inside a sound TLS connection: what a broken server sends, not what a
broken wire makes of it. The tenth fault, a hung process, is made with SIGSTOP (see `world.py`).
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from bench.servers import free_port
from soak.certificates import HERE, Papers

LATENCY = 2.0  # s before each piece of an answer
DRIP = 0.5  # s between the bytes of an answer: too short a pause for a time-out of one read
PIECE = 65_536
BIND_SECONDS = 5.0  # somebody may have been given the port while nobody listened on it
# PostgreSQL's first message where the client would like TLS or GSSAPI encryption; "Message Formats" of its manual.
WANTS_TLS, WANTS_GSS = struct.pack(">ii", 8, 80877103), struct.pack(">ii", 8, 80877104)
HUGE_HTTP = b"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nTransfer-Encoding: chunked\r\n\r\n"
HUGE_CHUNK = b"%x\r\n%b\r\n" % (PIECE, b" " * PIECE)
HUGE_ROW = b"D" + struct.pack(">i", 0x7FFFFFF0)  # PostgreSQL's DataRow that announces two gigabytes


class Fault(StrEnum):
    """What can happen to a dependency."""

    REFUSED = "refused"
    RESET = "reset"
    BLACK_HOLE = "black hole"
    LATENCY = "2 s latency"
    CUT = "cut mid-body"
    GARBAGE = "garbage"
    DRIP = "slow drip"
    HUGE = "huge"
    EXPIRED = "expired certificate"
    HUNG = "hung process"


class _Over(Exception):
    """This connection ends here."""


@dataclass(eq=False, slots=True)
class _Connection:
    """A client's connection and the one to the server that belongs to it; `dead`: bytes were lost, silent for good."""

    from_client: asyncio.StreamReader
    to_client: asyncio.StreamWriter
    from_server: asyncio.StreamReader
    to_server: asyncio.StreamWriter
    dead: bool = False

    def reset(self) -> None:
        """End it at once, for the client with RST."""
        wire = self.to_client.get_extra_info("socket")
        with suppress(OSError, AttributeError):  # it may be closed, or have no socket any more
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.to_client.transport.abort()
        self.to_server.transport.abort()


class Proxy:
    """Listens on `port` of 127.0.0.1 for the server on port `target`. Its methods may be called from any thread."""

    def __init__(self, target: int, papers: Papers, *, postgres: bool = False) -> None:
        self.port = free_port()
        self._target, self._papers, self._postgres = target, papers, postgres
        self._fault: Fault | None = None
        self._links: set[_Connection] = set()
        self._listener: asyncio.Server | None = None
        self._plug: list[socket.socket] = []
        self.inject(None)

    def inject(self, fault: Fault | None, latency: float = LATENCY) -> None:
        """From now on this fault; None is health. `latency` in seconds is for the fault of that name."""
        self._latency = latency
        asyncio.run_coroutine_threadsafe(self._change(fault), _loop()).result(10)

    def close(self) -> None:
        """Listen no more and end all connections."""
        self.inject(Fault.REFUSED)

    async def _change(self, fault: Fault | None) -> None:
        self._fault = fault
        if self._listener:
            self._listener.close()
            self._listener = None
        while self._plug:
            self._plug.pop().close()
        if fault in {Fault.REFUSED, Fault.EXPIRED}:
            for link in tuple(self._links):
                link.reset()
        if fault is Fault.BLACK_HOLE:
            self._plug = _plugged(self.port)
        elif fault is not Fault.REFUSED:
            self._listener = await self._listening()

    async def _listening(self) -> asyncio.Server:
        tls = None if self._postgres else self._papers_now()
        until = time.monotonic() + BIND_SECONDS
        while True:
            try:
                return await asyncio.start_server(self._serve, HERE, self.port, ssl=tls, backlog=256)
            except OSError:
                if time.monotonic() > until:
                    raise
                await asyncio.sleep(0.05)

    def _papers_now(self) -> object:
        return self._papers.expired if self._fault is Fault.EXPIRED else self._papers.good

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, EOFError, _Over):
            if self._postgres:
                await self._greet(reader, writer)
            link = _Connection(reader, writer, *await asyncio.open_connection(HERE, self._target))
            self._links.add(link)
            try:
                await _either(self._up(link), self._down(link))
            finally:
                self._links.discard(link)
                link.to_server.close()
        writer.close()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """PostgreSQL asks in plain text whether TLS is spoken."""
        while (wish := await reader.readexactly(8)) == WANTS_GSS:
            writer.write(b"N")
        if wish != WANTS_TLS:
            raise _Over
        writer.write(b"S")
        await writer.start_tls(self._papers_now())  # type: ignore[arg-type]

    async def _up(self, link: _Connection) -> None:
        while data := await link.from_client.read(PIECE):
            if self._fault is Fault.RESET:
                link.reset()
                raise _Over
            link.dead |= self._fault is Fault.BLACK_HOLE
            if not link.dead:
                link.to_server.write(data)
                await link.to_server.drain()

    async def _down(self, link: _Connection) -> None:
        while data := await link.from_server.read(PIECE):
            link.dead |= self._fault is Fault.BLACK_HOLE
            if not link.dead:
                await _HARM.get(self._fault, Proxy._pass)(self, link, data)
        if link.dead:
            await asyncio.Event().wait()  # that the server has gone is not told either

    async def _pass(self, link: _Connection, data: bytes) -> None:
        link.to_client.write(data)
        await link.to_client.drain()

    async def _late(self, link: _Connection, data: bytes) -> None:
        await asyncio.sleep(self._latency)
        await self._pass(link, data)

    async def _cut(self, link: _Connection, data: bytes) -> None:
        """Half of the body, or of a message without one, then an orderly goodbye."""
        head, between, body = data.partition(b"\r\n\r\n")
        await self._pass(link, head + between + body[: len(body) // 2] if between else data[: len(data) // 2])
        raise _Over

    async def _garble(self, link: _Connection, data: bytes) -> None:
        """Half of the answers keep their head, so that a body of the promised length is nonsense; half are all so."""
        head, between, body = data.partition(b"\r\n\r\n")
        kept = head + between if between and len(body) % 2 else b""
        await self._pass(link, kept + random.Random(1).randbytes(len(data) - len(kept)))

    async def _drip(self, link: _Connection, data: bytes) -> None:
        """An answer that has begun to drip goes on like that when the fault is over for others."""
        for place in range(len(data)):
            await self._pass(link, data[place : place + 1])
            await asyncio.sleep(DRIP)

    async def _swell(self, link: _Connection, _data: bytes) -> None:
        """An answer without end, as fast as it is taken."""
        start, piece = (HUGE_ROW, b"\0" * PIECE) if self._postgres else (HUGE_HTTP, HUGE_CHUNK)
        await self._pass(link, start)
        while self._fault is Fault.HUGE and not link.to_client.is_closing():
            await self._pass(link, piece)
            await asyncio.sleep(0)
        raise _Over


_Harm = Callable[[Proxy, _Connection, bytes], Awaitable[None]]
_HARM: Mapping[Fault | None, _Harm] = MappingProxyType(
    {
        Fault.LATENCY: Proxy._late,
        Fault.CUT: Proxy._cut,
        Fault.GARBAGE: Proxy._garble,
        Fault.DRIP: Proxy._drip,
        Fault.HUGE: Proxy._swell,
    }
)


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """One thread moves the bytes of all proxies."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # connections break here on purpose
    threading.Thread(target=loop.run_forever, name="proxies", daemon=True).start()
    return loop


async def _either(*ways: Awaitable[None]) -> None:
    """Until one of them ends; the others are cancelled."""
    tasks = [asyncio.ensure_future(way) for way in ways]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _plugged(port: int) -> list[socket.socket]:
    """Sockets that make connecting to the port neither succeed nor fail: its queue is full and nobody accepts."""
    listener = socket.create_server((HERE, port), backlog=0)
    fillers = [socket.socket() for _ in range(3)]
    for filler in fillers:
        filler.setblocking(False)
        filler.connect_ex((HERE, port))
    return [*fillers, listener]
