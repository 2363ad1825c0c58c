"""The connections on which requests go out: only to permitted addresses, and not used again after a long rest."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPResponse
from time import monotonic
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family

AddressFilter = Callable[[str], bool]
"""Is asked about an IP address."""

MAX_IDLE_SECONDS = 30.0
"""Since the last request. Firewalls forget idle connections without a word, though hardly any so soon."""

_fresh_only: ContextVar[bool] = ContextVar("_fresh_only", default=False)


@contextmanager
def new_connections() -> Iterator[None]:
    """Requests in this block go out on connections that have not been used before."""
    before = _fresh_only.set(True)
    try:
        yield
    finally:
        _fresh_only.reset(before)


class ForbiddenPeerError(NewConnectionError):
    """The name led to an address that is not allowed."""


def pools(
    address_filter: AddressFilter, answers: type[HTTPResponse] = HTTPResponse
) -> dict[str, type[HTTPConnectionPool]]:
    """Pool classes by scheme for urllib3's `pool_classes_by_scheme`; `answers` is the class that reads answers.

    A name is looked up once, and only the addresses that may be asked are connected to: one that resolves to something
    else a moment later gains nothing, and what is forbidden does not even see a connection.
    """

    class Plain(MaxIdleConnection):
        response_class = answers

        def _new_conn(self) -> socket.socket:
            return _connected(self, super()._new_conn, address_filter)

    class Secure(MaxIdleConnection, HTTPSConnection):
        response_class = answers

        def _new_conn(self) -> socket.socket:
            return _connected(self, super()._new_conn, address_filter)

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class MaxIdleConnection(HTTPConnection):
    """A connection that a pool takes for dropped, and makes anew, where it must not be used again."""

    _asked = 0.0

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._asked = monotonic()
        super().request(*args, **kwargs)

    @property
    def is_connected(self) -> bool:
        return not _fresh_only.get() and monotonic() - self._asked < MAX_IDLE_SECONDS and super().is_connected


def _connected(
    connection: HTTPConnection, connect: Callable[[], socket.socket], address_filter: AddressFilter
) -> socket.socket:
    """A socket to the first of the name's addresses that may be asked and answers."""
    name = connection._dns_host
    try:
        found = socket.getaddrinfo(name.strip("[]"), connection.port, allowed_gai_family(), socket.SOCK_STREAM)
    except OSError as error:
        raise NameResolutionError(connection.host, connection, socket.gaierror(*error.args)) from error
    failure: HTTPError = ForbiddenPeerError(connection, "the name leads to an address that is not allowed")
    for address in dict.fromkeys(str(place[0]) for *_, place in found):
        if not address_filter(address):
            continue
        connection._dns_host = address
        try:
            return connect()
        except (NewConnectionError, ConnectTimeoutError) as error:
            failure = error
        finally:
            connection._dns_host = name
    raise failure
