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
MAX_ARRIVED_BYTES = 64_000_000
"""Of large bodies that are arriving, or wait for a slot: twelve of 5 MB."""
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


class _LargeBodies:
    """Slots for the large bodies that are worked on, and a count of the bytes of those that are still arriving."""

    def __init__(self) -> None:
        self.slots = Semaphore(MAX_LARGE_BODIES)
        self._left, self._lock = MAX_ARRIVED_BYTES, Lock()

    def take(self, number: int) -> bool:
        """Count bytes that have arrived; False if there are too many of all bodies together."""
        with self._lock:
            if number > self._left:
                return False
            self._left -= number
            return True

    def give_back(self, number: int) -> None:
        with self._lock:
            self._left += number


_EXTENSION = "large-bodies"


def limit_large_bodies(app: flask.Flask) -> None:
    """Give the app its slots for large bodies, each free again once its request is answered."""
    bodies = app.extensions[_EXTENSION] = _LargeBodies()

    @app.teardown_request
    def release(_error: BaseException | None) -> None:
        bodies.give_back(flask.g.pop("arrived", 0))
        if flask.g.pop("large_body", False):
            bodies.slots.release()


def count_arrived(number: int, whole: int) -> None:
    """So many bytes more have arrived, `whole` of this body: Overloaded (503) if large ones together hold too many."""
    if whole <= LARGE_BODY_BYTES:
        return
    if not flask.current_app.extensions[_EXTENSION].take(number):
        raise Overloaded("too many large requests arrive at one time; try again", retry_after=1)
    flask.g.arrived = flask.g.get("arrived", 0) + number


def acquire_large_body_slot(length: int) -> None:
    """A large body that is here waits until it may be worked on; Overloaded (503) after ACQUIRE_TIMEOUT."""
    if length <= LARGE_BODY_BYTES or flask.g.get("large_body"):
        return
    if not flask.current_app.extensions[_EXTENSION].slots.acquire(timeout=ACQUIRE_TIMEOUT):
        raise Overloaded("too many large requests at one time; try again", retry_after=1)
    flask.g.large_body = True
