"""Where a connection really ended: pools whose connections are dropped unless the peer's IP address is permitted."""

from __future__ import annotations

import socket
from collections.abc import Callable
from http.client import HTTPResponse

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import NewConnectionError

Permit = Callable[[str], bool]
"""Is asked about an IP address."""


class ForbiddenPeerError(NewConnectionError):
    """The name led to an address that is not allowed."""


def pools(permit: Permit, answers: type[HTTPResponse] = HTTPResponse) -> dict[str, type[HTTPConnectionPool]]:
    """Pool classes by scheme for urllib3's `pool_classes_by_scheme`; `answers` is the class that reads answers.

    The address is that of the connected socket, so a name that resolves to something else a moment later gains
    nothing; it is checked before a byte is sent.
    """

    class Plain(HTTPConnection):
        response_class = answers

        def _new_conn(self) -> socket.socket:
            return _checked(self, super()._new_conn(), permit)

    class Secure(HTTPSConnection):
        response_class = answers

        def _new_conn(self) -> socket.socket:
            return _checked(self, super()._new_conn(), permit)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _checked(connection: HTTPConnection, link: socket.socket, permit: Permit) -> socket.socket:
    if permit(link.getpeername()[0]):
        return link
    link.close()
    raise ForbiddenPeerError(connection, "the name leads to an address that is not allowed")
