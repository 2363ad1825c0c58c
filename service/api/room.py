"""Room for calls: how many are worked on at one time, and how many long bodies are held.

There are many more threads than either, since a thread may also wait, for a slow client or a FHIR server. Without these
bounds a crowd of calls would share the processor and all end late, and a crowd of long ones would not fit into a pod.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Semaphore

import flask

from service.errors import Overloaded

AT_WORK = 4
LONG = 256 * 1024
"""Bytes; a usual chart has 70,000."""
LONG_AT_ONCE = 4
"""A body of 5 MB needs 30 MB until it is answered."""
PATIENCE = 3.0
"""Seconds; an EHR waits no longer for a card."""


class Gate:
    """Lets so many calls work at one time, first come, first served: `with gate: …`."""

    def __init__(self, places: int = AT_WORK) -> None:
        self._free, self._queue, self._lock = places, deque[Lock](), Lock()

    def __enter__(self) -> None:
        with self._lock:
            if self._free:
                self._free -= 1
                return
            turn = Lock()
            turn.acquire()
            self._queue.append(turn)
        turn.acquire()

    def __exit__(self, *_raised: object) -> None:
        with self._lock:
            if self._queue:
                self._queue.popleft().release()  # a semaphore would let in whoever comes by first
            else:
                self._free += 1

    @contextmanager
    def aside(self) -> Iterator[None]:
        """A block in which a call that is let in waits for others, and another may work."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


_EXTENSION = "long-bodies"


def watch_long_bodies(app: flask.Flask) -> None:
    """Give the app its places for long bodies, each free again once its request is answered."""
    slots = app.extensions[_EXTENSION] = Semaphore(LONG_AT_ONCE)

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        if flask.g.pop("long_body", False):
            slots.release()


def admit(length: int) -> None:
    """Before so much of a body is read: a long one waits until there is a place; Overloaded (503) if that is long."""
    if length <= LONG or flask.g.get("long_body"):
        return
    if not flask.current_app.extensions[_EXTENSION].acquire(timeout=PATIENCE):
        raise Overloaded("too many long requests at one time; try again", retry_after=1)
    flask.g.long_body = True
