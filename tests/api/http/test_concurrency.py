"""Turns of calls that work: so many at one time, first come, first served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from time import monotonic, sleep

import flask
import pytest

from service.api.http.concurrency import (
    LARGE_BODY_BYTES,
    MAX_LARGE_BODIES,
    FairSemaphore,
    acquire_large_body_slot,
    limit_large_bodies,
)


@contextmanager
def inside(gate: FairSemaphore, arrived: list[int], number: int) -> Iterator[Event]:
    """Another thread that goes through the gate, and stays until its event is set."""
    leave = Event()

    def work() -> None:
        with gate:
            arrived.append(number)
            leave.wait(10)

    thread = Thread(target=work)
    thread.start()
    try:
        yield leave
    finally:
        leave.set()
        thread.join(10)


def eventually(arrived: list[int], expected: set[int]) -> bool:
    until = monotonic() + 10
    while set(arrived) != expected and monotonic() < until:
        sleep(0.01)
    sleep(0.05)  # and nobody else
    return set(arrived) == expected


def test_whoever_came_first_is_let_in_first_as_soon_as_there_is_a_place() -> None:
    gate, arrived = FairSemaphore(2), list[int]()
    with inside(gate, arrived, 1) as first, inside(gate, arrived, 2) as second:
        assert eventually(arrived, {1, 2})
        with inside(gate, arrived, 3), waiting(gate, 1), inside(gate, arrived, 4), waiting(gate, 2):
            assert eventually(arrived, {1, 2})
            second.set()
            assert eventually(arrived, {1, 2, 3})
            first.set()
            assert eventually(arrived, {1, 2, 3, 4})


@contextmanager
def waiting(gate: FairSemaphore, number: int) -> Iterator[None]:
    """Once so many wait at the gate."""
    until = monotonic() + 10
    while len(gate._queue) != number and monotonic() < until:
        sleep(0.01)
    yield


def test_a_call_that_steps_aside_leaves_its_place_to_another_and_gets_one_back() -> None:
    gate, arrived = FairSemaphore(1), list[int]()
    with gate, inside(gate, arrived, 1) as other:
        assert eventually(arrived, set())
        with gate.released():
            assert eventually(arrived, {1})
            other.set()
    with gate:
        pass


def test_a_call_that_fails_gives_its_place_back() -> None:
    gate = FairSemaphore(1)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), gate, gate.released():
            raise ZeroDivisionError
    with gate:
        pass


@pytest.mark.parametrize(("more", "takes"), [(-1, False), (0, False), (1, True)])
def test_a_body_takes_a_place_only_if_it_is_long_and_gives_it_back(more: int, takes: bool) -> None:
    app = flask.Flask("room")
    limit_large_bodies(app)
    for _ in range(MAX_LARGE_BODIES + 1):
        with app.test_request_context():
            acquire_large_body_slot(LARGE_BODY_BYTES + more)
            acquire_large_body_slot(LARGE_BODY_BYTES + more)  # of a body in chunks, told again: still one place
            assert ("large_body" in flask.g) is takes
