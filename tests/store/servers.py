"""What is done to database servers and to the way there."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import psycopg

from bench.servers import free_port


def configure(url: str, name: str, value: str) -> None:
    """Change a setting of the server, for the sessions that are open too."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET {name} = {value}")  # type: ignore[arg-type]
        connection.execute("SELECT pg_reload_conf()")
    until, shown = time.monotonic() + 10, ""
    while shown != value:
        assert time.monotonic() < until
        with psycopg.connect(url) as connection:
            (shown,) = connection.execute(f"SHOW {name}").fetchone() or ("",)  # type: ignore[arg-type]


class Proxy:
    """A TCP proxy before a server: `flow()`, `refuse()`, and `stall()`: a black hole, open but silent.

    `target` may be changed, as an address does in a failover: connections that are open stay where they are.

    A connection that lost bytes in a stall stays silent afterwards, as behind a firewall that has forgotten it: nor
    does the server learn that the client has gone.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.target, self._flowing = target, threading.Event()
        self._sockets: list[socket.socket] = []
        self.port = free_port()
        self.trap = b""  # the first message to the server that contains it springs a stall
        self._listener: socket.socket | None = None
        self.flow()

    def flow(self) -> None:
        self._flowing.set()
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self.port))
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stall(self) -> None:
        self._flowing.clear()

    def refuse(self) -> None:
        if self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self.target)
                self._sockets += [client, server]
                lost = threading.Event()
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self._pump, args=(*ends, lost), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while piece := source.recv(65536):
                if self.trap and self.trap in piece:
                    self.stall()
                    lost.set()
                    self.trap = b""
                if not self._flowing.is_set():
                    lost.set()
                if not lost.is_set():
                    sink.sendall(piece)
            if not lost.is_set():
                sink.shutdown(socket.SHUT_WR)
