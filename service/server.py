"""The web server: gunicorn with one process of threads, made to outlast slow clients and to stop without losing a call.

A proxy that buffers stands before it (docs/operating.md). What follows is for where there is none, and for a proxy that
is not what it should be: a connection gets a thread only once it has said something, a request has to arrive and its
answer has to be taken in bounded time, and what waited in the queue of connections at the end is still answered.

`python -m service.server HOST PORT THREADS` becomes gunicorn's master, which imports nothing of the service: that is read
by its worker alone, so that a replica holds it in memory once.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import resource
import socket
import sys
from collections import deque
from contextlib import suppress
from functools import partial
from selectors import EVENT_READ
from threading import Barrier
from time import monotonic, sleep
from typing import Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import InvalidHeader, UnsupportedTransferCoding
from gunicorn.workers.gthread import TConn, ThreadWorker

READ_SECONDS = 5.0
"""For a whole request to arrive, from its first byte: 1.5 MB, a long chart, at 2.5 Mbit/s."""
EARLY_BYTES = 96 * 1024
"""Of a request that arrives without a thread; a usual chart has 70,000. Of 500 connections that is 48 MB."""
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,10})[ \t]*(?:\r\n|$)", re.IGNORECASE)
WRITE_SECONDS = 10.0
FIRST_BYTE_SECONDS = 20.0
"""For a new connection to say something; proxies open some in advance."""
MAX_IDLE_CONNECTIONS = 500
"""Of them at one time; the oldest leaves for the next."""
LINGER_SECONDS = 1.0
"""For a client to close after the last answer, so that it has surely read it."""
OPEN_FILES = 4096
"""A thousand connections of callers, some hundred to FHIR servers; many systems begin with 1,024."""
M_ARENA_MAX = -8  # of glibc's malloc.h
ARENAS = 2
"""Of memory, among which glibc spreads threads: with its 16 the process grows for minutes, by 50 MB that it does not
need. The processor's time is the same (1.00 to 1.05 x per call)."""
ACCEPT_PAUSE_SECONDS = 0.05
"""Until somebody may have left."""
GRACEFUL_SECONDS = 25
"""For calls under way when the process is told to stop; Kubernetes waits longer."""


class Server(BaseApplication):
    """gunicorn on an address, with so many threads; settings and application are read in the worker."""

    def __init__(self, host: str, port: int, threads: int) -> None:
        self.address, self.threads = f"{host}:{port}", threads
        super().__init__()

    def load_config(self) -> None:
        """One worker with threads: reads of FHIR servers wait, rules do not. More load means more replicas."""
        options = {
            "bind": self.address,
            "workers": 1,
            "worker_class": Worker,
            "threads": self.threads,
            "keepalive": 65,  # longer than proxies keep theirs: the one that sends closes
            "graceful_timeout": GRACEFUL_SECONDS,
            "timeout": 30,  # a worker that does not stir is replaced
            "loglevel": "warning",
            "control_socket_disable": True,
            "forwarded_allow_ips": "",  # no neighbour may set the path or the scheme by a header
            "forwarder_headers": "",
        }
        for name, value in options.items():
            self.cfg.set(name, value)
        with suppress(OSError, AttributeError):  # without glibc there is nothing to bound
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, ARENAS)

    def load(self) -> Any:
        """The WSGI application, imported and built in this worker, which may open as many files as it ever needs."""
        now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        if 0 <= now < OPEN_FILES:  # below 0: without limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most) if most >= 0 else OPEN_FILES, most))
        from service.token_checks import MAX_TOKEN
        from service.wsgi import app

        self.cfg.set("limit_request_field_size", MAX_TOKEN + 16)
        return app


def become_server(host: str, port: int, threads: int) -> NoReturn:
    """Go on as the server: what this process has imported to look at the settings is let go of."""
    for stream in filter(None, (sys.stdout, sys.stderr)):  # what was closed from the start is None
        stream.flush()
    os.execv(sys.executable, [sys.executable, "-m", "service.server", host, str(port), str(threads)])  # noqa: S606


class Worker(ThreadWorker):
    """gunicorn's threaded worker; what is changed is said at each method."""

    _notified_at = 0.0

    def load_wsgi(self) -> None:
        """All threads at the start: where the system allows fewer, that shows now (gunicorn: the worker dies later).

        Not where gunicorn makes the pool, before it listens to signals: one to stop would be lost.
        """
        together = Barrier(self.cfg.threads)
        try:
            for _ in range(self.cfg.threads):
                self.tpool.submit(together.wait)
        except RuntimeError:
            together.abort()  # those that wait for the rest would keep the process
            raise
        super().load_wsgi()

    def notify(self) -> None:
        """A sign of life once a second (gunicorn: several for each call)."""
        if monotonic() - self._notified_at >= 1:
            self._notified_at = monotonic()
            super().notify()

    def enqueue_req(self, conn: TConn) -> None:
        """A new connection waits for its first byte without a thread (gunicorn: 5 s with one)."""
        if isinstance(conn.sock, DeadlineSocket):
            super().enqueue_req(conn)
            return
        conn.sock = DeadlineSocket(fileno=conn.sock.detach())
        conn.sock.setblocking(False)
        if len(self.pending_conns) >= MAX_IDLE_CONNECTIONS:  # else nobody could connect any more
            self.pending_conns[0].timeout = 0
            self.murder_pending()
        conn.timeout = monotonic() + FIRST_BYTE_SECONDS
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def on_pending_socket_readable(self, conn: TConn, client: Any) -> None:
        """A new connection gets a thread once its request is here (gunicorn: once it has said a byte)."""
        if self._is_here(conn, self.pending_conns):
            super().on_pending_socket_readable(conn, client)

    def on_client_socket_readable(self, conn: TConn, client: Any) -> None:
        """And so does one that is used again."""
        if self._is_here(conn, self.keepalived_conns):
            super().on_client_socket_readable(conn, client)

    def _is_here(self, conn: TConn, waiting: deque[TConn]) -> bool:
        """Read what has come, without a thread; what has not come READ_SECONDS after its first byte is given up."""
        link = conn.sock
        assert isinstance(link, DeadlineSocket)  # noqa: S101  see enqueue_req
        first = not link.early
        if link.request_is_here():
            return True
        if first:
            conn.timeout = min(conn.timeout or 0.0, monotonic() + READ_SECONDS)
            in_order = sorted(waiting, key=lambda each: each.timeout or 0.0)  # gunicorn looks at the first alone
            waiting.clear()
            waiting.extend(in_order)
        return False

    def murder_pending(self) -> None:
        """Whose body has not come in time is told so, by a thread; the others are closed."""
        for conn in [each for each in self.pending_conns if (each.timeout or 0.0) <= monotonic()]:
            link = conn.sock
            if isinstance(link, DeadlineSocket) and b"\r\n\r\n" in link.early:
                link.is_late = True
                super().on_pending_socket_readable(conn, link)
        super().murder_pending()

    def handle(self, conn: TConn) -> Any:
        """A client that is slow to close is waited for here (gunicorn: by the loop, which accepts nobody meanwhile)."""
        link = conn.sock
        assert isinstance(link, DeadlineSocket)  # noqa: S101  see enqueue_req
        link.start_deadline(0.0 if link.is_late else READ_SECONDS)
        keep = super().handle(conn)
        if keep and link.early:  # of the next request, where gunicorn looks for it
            parser: Any = conn.parser
            parser.unreader.unread(link.take_early(len(link.early)))
        if not keep:
            link.half_close(LINGER_SECONDS)
        return keep

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """A transfer coding that nobody knows is the client's fault, 400 (gunicorn: 501, as if we lacked something)."""
        unknown = isinstance(exc, UnsupportedTransferCoding)
        super().handle_error(req, client, addr, InvalidHeader("TRANSFER-ENCODING", req=req) if unknown else exc)

    def accept(self, listener: Any) -> None:
        """Where the process may open no more files, callers wait in the queue (gunicorn: the worker dies)."""
        try:
            super().accept(listener)
        except OSError as error:
            if error.errno not in {errno.EMFILE, errno.ENFILE}:
                raise
            sleep(ACCEPT_PAUSE_SECONDS)

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """At the end, connections in the kernel's queue are accepted, then it closes (gunicorn: they are cut off)."""
        super().set_accept_enabled(enabled)
        if enabled or self.alive or not self.sockets:
            return
        sys.setswitchinterval(0.0001)  # little time for another to connect after the last
        for listener in self.sockets:
            before = -1
            while before < self.nr_conns:
                before = self.nr_conns
                self.accept(listener)
            listener.close()
        self.sockets = []

    def _cap_keepalive(self, deadline: float) -> None:
        """Silent connections hold up the end no longer than kept-alive ones."""
        super()._cap_keepalive(deadline)  # type: ignore[misc]  # newer than its types
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout or deadline, deadline)


class DeadlineSocket(socket.socket):
    """A socket that gives each request and each answer only so much time; past that the client counts as gone."""

    _until = 0.0
    is_late = False
    early = b""
    """What has been read before a thread was there for it."""

    def request_is_here(self) -> bool:
        """Read what has come without waiting: is it a whole request, or one that needs a thread to go on?

        Only a small body is waited for; that of a long one, or one in chunks, is read by a thread as it comes.
        """
        try:
            piece = super().recv(EARLY_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            return True  # the thread finds out why
        self.early += piece
        head, whole, body = self.early.partition(b"\r\n\r\n")
        if not piece or len(self.early) >= EARLY_BYTES:
            return True
        stated = _LENGTH.search(head)
        return bool(whole) and (stated is None or len(body) >= int(stated[1]) or int(stated[1]) > EARLY_BYTES)

    def take_early(self, size: int) -> bytes:
        """So many of the bytes that were read early, at most."""
        taken, self.early = self.early[:size], self.early[size:]
        return taken

    def start_deadline(self, seconds: float) -> None:
        """From now on this many seconds may pass, for all bytes together."""
        self._until = monotonic() + seconds

    def half_close(self, seconds: float) -> None:
        """Say that nothing more will come, and wait for the client to close; the loop then need not."""
        self.start_deadline(seconds)
        with suppress(OSError):
            self.shutdown(socket.SHUT_WR)
            while self.recv(4096):
                pass
        self.start_deadline(0)

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Some bytes; TimeoutError when the time of the request is over, however much the client still has to say."""
        if self.early:
            return self.take_early(size)
        left = self._until - monotonic()
        if left <= 0:
            raise client_timeout()
        self.settimeout(left)
        try:
            return super().recv(size, flags)
        except TimeoutError:
            raise client_timeout() from None

    def sendall(self, data: Any, flags: int = 0) -> None:
        """All bytes; TimeoutError if the client does not take them."""
        self.settimeout(WRITE_SECONDS)
        try:
            super().sendall(data, flags)
        except TimeoutError:
            raise client_timeout() from None


def client_timeout() -> TimeoutError:
    """With the number by which gunicorn knows a client that has left, which is no error of the server's."""
    return TimeoutError(errno.ECONNRESET, "no sign of the client in good time")


if __name__ == "__main__":
    Server(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])).run()
