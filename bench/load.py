"""A light caller: raw sockets, requests made beforehand; of an answer only its status and its length are read."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

from bench.servers import NOTHING

PATIENCE = 60.0  # s for one answer
PIECE = 1 << 18

Draw = Callable[[], bytes]
"""The next request to send, as bytes; called by several threads."""


def request(path: str, body: bytes, headers: Mapping[str, str] = NOTHING) -> bytes:
    """A POST of JSON as it goes over the wire."""
    given = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": str(len(body)), **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode("latin-1") + body


def drive(port: int, draw: Draw, calls: int, connections: int = 1) -> list[float]:
    """Seconds of each of so many calls, made one after the other on each of several kept-alive connections."""
    shares = [len(range(place, calls, connections)) for place in range(connections)]
    if connections == 1:
        return _in_turn(port, draw, calls)
    with ThreadPoolExecutor(connections) as threads:
        return [taken for times in threads.map(partial(_in_turn, port, draw), shares) for taken in times]


def flood(port: int, data: bytes, connections: int, begin: float, until: float) -> tuple[int, float]:
    """Calls answered between two moments of `time.monotonic`, and the CPU seconds that making them took."""
    with ThreadPoolExecutor(connections) as threads:
        counts = [threads.submit(_until, port, data, begin, until) for _ in range(connections)]
        time.sleep(max(0.0, begin - time.monotonic()))
        before = time.process_time()
        answered = sum(count.result() for count in counts)
    return answered, time.process_time() - before


def _in_turn(port: int, draw: Draw, calls: int) -> list[float]:
    times = []
    with closing(_connected(port)) as sock:
        for _ in range(calls):
            data = draw()
            started = time.perf_counter()
            _call(sock, data)
            times.append(time.perf_counter() - started)
    return times


def _until(port: int, data: bytes, begin: float, until: float) -> int:
    answered = 0
    with closing(_connected(port)) as sock:
        while True:
            _call(sock, data)
            now = time.monotonic()
            if now > until:
                return answered
            answered += now >= begin


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _call(sock: socket.socket, data: bytes) -> None:
    """One request and its whole answer; ends the run unless that is 200 with a Content-Length."""
    sock.sendall(data)
    begun = _piece(sock)
    while b"\r\n\r\n" not in begun:
        begun += _piece(sock)
    head, _, content = begun.partition(b"\r\n\r\n")
    left = _length(head) - len(content)
    while left > 0:
        left -= len(_piece(sock))


def _piece(sock: socket.socket) -> bytes:
    piece = sock.recv(PIECE)
    if not piece:
        raise SystemExit("a server closed the connection before it had answered")
    return piece


def _length(head: bytes) -> int:
    if not head.startswith(b"HTTP/1.1 200 "):
        raise SystemExit(f"a server answered {head.splitlines()[0].decode('latin-1')}")
    return int(head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r")[0])
