"""How many calls are worked on at one time, and how many large bodies are held.

There are many more threads than either, since a thread may also wait, for a slow client or a FHIR server. Without these
bounds many calls would share the processor and all end late, and many large bodies would not fit into a pod.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Semaphore

import flask

from service.errors import Overloaded

MAX_CONCURRENT = 4
LARGE_BODY_BYTES = 256 * 1024
"""Bytes; a usual chart has 70,000."""
MAX_LARGE_BODIES = 4
"""A body of 5 MB needs 30 MB until it is answered."""
ACQUIRE_TIMEOUT = 3.0
"""Seconds; an EHR waits no longer for a card."""


class FairSemaphore:
    """Lets so many calls work at one time, first come, first served: `with gate: …`."""

    def __init__(self, places: int = MAX_CONCURRENT) -> None:
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
    def released(self) -> Iterator[None]:
        """A block in which a call that is let in waits for others, and another may work."""
        self.__exit__()
        try:
            yield
        finally:
            self.__enter__()


_EXTENSION = "long-bodies"


def limit_large_bodies(app: flask.Flask) -> None:
    """Give the app its places for long bodies, each free again once its request is answered."""
    slots = app.extensions[_EXTENSION] = Semaphore(MAX_LARGE_BODIES)

    @app.teardown_request
    def leave(_error: BaseException | None) -> None:
        if flask.g.pop("long_body", False):
            slots.release()


def acquire_large_body_slot(length: int) -> None:
    """Before so much of a body is read: a long one waits until there is a place; Overloaded (503) if that is long."""
    if length <= LARGE_BODY_BYTES or flask.g.get("long_body"):
        return
    if not flask.current_app.extensions[_EXTENSION].acquire(timeout=ACQUIRE_TIMEOUT):
        raise Overloaded("too many long requests at one time; try again", retry_after=1)
    flask.g.long_body = True
