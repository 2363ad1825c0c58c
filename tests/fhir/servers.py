"""Local HTTP servers that behave like FHIR servers on bad days: slow, failing, paging, lying; sockets, no mocks.

`serving(answer)` runs a server in threads; `answer(request, sock)` writes whatever bytes it likes. The functions below
make such answers; they combine: `after(0.05, reply(BUNDLE))`.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ssl import SSLContext
from weakref import WeakSet

import msgspec

FHIR_JSON = "application/fhir+json; charset=utf-8"
EMPTY = b'{"resourceType":"Bundle","type":"searchset","total":0}'

CAPABILITIES = b'{"resourceType":"CapabilityStatement","status":"active","fhirVersion":"4.0.1"}'


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived; header names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


Answer = Callable[[Request, socket.socket], None]


@dataclass(slots=True)
class Server:
    """A running server: its FHIR base URL and every request that it has read."""

    base: str
    seen: list[Request] = field(default_factory=list)
    connections: int = 0


@contextmanager
def serving(answer: Answer, tls: SSLContext | None = None) -> Iterator[Server]:
    """Serve on a free port of 127.0.0.1 until the block ends; connections are kept alive while `answer` leaves them."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    scheme = "https" if tls else "http"
    server = Server(f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/fhir")
    threading.Thread(target=_accept, args=(listener, server, answer, tls), daemon=True).start()
    try:
        yield server
    finally:
        with suppress(OSError):  # shutdown wakes the accepting thread, close alone does not
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _accept(listener: socket.socket, server: Server, answer: Answer, tls: SSLContext | None) -> None:
    with suppress(OSError):
        while True:
            sock, _ = listener.accept()
            server.connections += 1
            threading.Thread(target=_converse, args=(sock, server, answer, tls), daemon=True).start()


def _converse(sock: socket.socket, server: Server, answer: Answer, tls: SSLContext | None) -> None:
    with suppress(OSError, ValueError):  # the other side may leave at any point
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with tls.wrap_socket(sock, server_side=True) if tls else sock as stream, stream.makefile("rb") as reader:
            if not tls and sock.recv(1, socket.MSG_PEEK) == b"\x16":  # a TLS greeting, answered as web servers do
                sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                return
            while request := _read(reader.readline, reader.read):
                if request.target == "/fhir/metadata":  # in development a server is asked what it is, once
                    reply(CAPABILITIES)(request, stream)
                    continue
                server.seen.append(request)
                answer(request, stream)


def _read(line: Callable[[], bytes], some: Callable[[int], bytes]) -> Request | None:
    first = line().decode("latin-1").split()
    if len(first) != 3:
        return None
    headers: dict[str, str] = {}
    while header := line().decode("latin-1").strip():
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    return Request(first[0], first[1], headers, some(int(headers.get("content-length", "0"))))


@contextmanager
def unconnectable() -> Iterator[str]:
    """The base URL of a port on which connecting neither succeeds nor fails: its queue is full, nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        address = listener.getsockname()
        fillers = [_connecting(address) for _ in range(3)]
        yield f"http://127.0.0.1:{address[1]}/fhir"
        for filler in fillers:
            filler.close()


def _connecting(address: tuple[str, int]) -> socket.socket:
    filler = socket.socket()
    filler.setblocking(False)
    filler.connect_ex(address)
    return filler


@contextmanager
def deaf() -> Iterator[str]:
    """The base URL of a port that takes connections and never reads from them."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/fhir"


@contextmanager
def nobody() -> Iterator[str]:
    """The base URL of a port on which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/fhir"


# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def reply(body: bytes = EMPTY, status: int = 200, **headers: str) -> Answer:
    """An ordinary answer; header names with `_` for `-`."""
    lines = {"content-type": FHIR_JSON, "content-length": str(len(body))} | headers
    head = f"HTTP/1.1 {status} Whatever\r\n" + "".join(f"{k.replace('_', '-')}: {v}\r\n" for k, v in lines.items())
    return raw(head.encode("latin-1") + b"\r\n" + body)


def raw(data: bytes) -> Answer:
    """These bytes, as they are."""
    return lambda _request, sock: sock.sendall(data)


def after(seconds: float, answer: Answer) -> Answer:
    """A slow server."""

    def answered(request: Request, sock: socket.socket) -> None:
        time.sleep(seconds)
        answer(request, sock)

    return answered


def in_turn(*answers: Answer) -> Answer:
    """The first answer to the first request, and so on; the last one for ever."""
    left = list(answers)
    lock = threading.Lock()

    def answered(request: Request, sock: socket.socket) -> None:
        with lock:
            answer = left.pop(0) if len(left) > 1 else left[0]
        answer(request, sock)

    return answered


def by_connection(first: Answer, later: Answer) -> Answer:
    """One answer to the first request on a connection, another one to those that use it again."""
    used: WeakSet[socket.socket] = WeakSet()

    def answered(request: Request, sock: socket.socket) -> None:
        again = sock in used
        used.add(sock)
        (later if again else first)(request, sock)

    return answered


def by_target(answers: Mapping[str, Answer], otherwise: Answer | None = None) -> Answer:
    """The answer whose key occurs in the request's target."""

    def answered(request: Request, sock: socket.socket) -> None:
        found = (answer for key, answer in answers.items() if key in request.target)
        next(found, otherwise or reply(b"{}", 404))(request, sock)

    return answered


def then_close(answer: Answer) -> Answer:
    """Close in the proper way after the answer, whatever it promised: a cut."""

    def answered(request: Request, sock: socket.socket) -> None:
        answer(request, sock)
        sock.shutdown(socket.SHUT_RDWR)

    return answered


def then_reset(answer: Answer) -> Answer:
    """Reset the connection (RST) after the answer's bytes."""

    def answered(request: Request, sock: socket.socket) -> None:
        answer(request, sock)
        time.sleep(0.02)  # a reset overtakes what has not been read yet
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(sock.detach())

    return answered


def silence(_request: Request, sock: socket.socket) -> None:
    """A black hole: the request is taken, nothing ever comes back; over when the client hangs up."""
    sock.recv(1)


def drip(data: bytes, seconds: float = 0.02) -> Answer:
    """One byte at a time: never a pause long enough for a read timeout, never an end."""

    def answered(_request: Request, sock: socket.socket) -> None:
        for position in range(len(data)):
            sock.sendall(data[position : position + 1])
            time.sleep(seconds)

    return answered


def endless(chunk: bytes = b" " * 65_536) -> Answer:
    """Chunks without end."""

    def answered(_request: Request, sock: socket.socket) -> None:
        sock.sendall(f"HTTP/1.1 200 OK\r\ncontent-type: {FHIR_JSON}\r\ntransfer-encoding: chunked\r\n\r\n".encode())
        while True:
            sock.sendall(b"%x\r\n%b\r\n" % (len(chunk), chunk))

    return answered


# ── bodies ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def bundle(name: str, following: str | None = None) -> bytes:
    """A searchset with one synthetic Observation of that id and, if given, a link to the next page."""
    link = [{"relation": "self", "url": "x"}] + ([{"relation": "next", "url": following}] if following else [])
    entry = [{"resource": {"resourceType": "Observation", "id": name}}]
    return msgspec.json.encode({"resourceType": "Bundle", "type": "searchset", "link": link, "entry": entry})
