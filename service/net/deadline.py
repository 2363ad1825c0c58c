"""Answers that are timed as a whole: a server that drips one byte a second gains nothing."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

BUFFER_BYTES = 65_536


class DeadlineResponse(HTTPResponse):
    """An answer whose status line, headers and body together have to come within the socket's timeout."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineStream(sock), BUFFER_BYTES)


class _DeadlineStream(io.RawIOBase):
    """The bytes of a socket until a moment, not until a pause."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self._socket = sock
        self._stream = sock.makefile("rb", buffering=0)
        self._end = time.monotonic() + (sock.gettimeout() or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._socket.settimeout(remaining)
        return self._stream.readinto(buffer)

    def close(self) -> None:
        self._stream.close()
        super().close()
