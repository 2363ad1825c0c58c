"""PostgreSQL: connections that keep the thread's deadline and that follow a failover."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Engine, ExceptionContext, create_engine, event

from service.store.deadline import time_left

T = TypeVar("T")
# A connection that a firewall has forgotten leaves its transaction, and its locks, on the server: ended after 3 s.
SERVER_LIMITS = (
    "-c timezone=UTC -c statement_timeout=5000 -c lock_timeout=1500 -c idle_in_transaction_session_timeout=3000"
)
# SQLSTATEs of a server that is no longer the one to ask: read-only since a failover, being shut down, not yet up.
FAILOVER_SQLSTATES = frozenset({"25006", "57P01", "57P02", "57P03"})


class BoundedConnection(psycopg.Connection[Any]):
    """A connection that keeps the thread's deadline: a silent peer is bounded by no server or TCP time-out."""

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for a query as psycopg does; past the deadline close the connection and raise OperationalError."""
        left = time_left()
        if left is None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, left)
        except psycopg.OperationalError:
            if not time_left():
                self.close()  # an answer may still be under way: the connection is of no more use
            raise


def engine(url: URL, **pooling: Any) -> Engine:
    """An engine for a server at `url`, with our limits on everything that it waits for."""
    options = f"{SERVER_LIMITS} {url.query.get('options', '')}"
    limits = {"connect_timeout": 2, "tcp_user_timeout": 2000, "options": options, "prepare_threshold": None}
    made = create_engine(url, hide_parameters=True, connect_args=limits, **pooling)

    @event.listens_for(made, "do_connect")
    def connect(_dialect: object, _record: object, args: Any, options: Any) -> psycopg.Connection[Any]:
        return BoundedConnection.connect(*args, **options)

    @event.listens_for(made, "handle_error")
    def move(context: ExceptionContext) -> None:
        """Give up all connections, so that the next try finds the server to which the address leads now."""
        if (
            isinstance(context.original_exception, psycopg.Error)
            and context.original_exception.sqlstate in FAILOVER_SQLSTATES
        ):
            context.is_disconnect = True

    return made
