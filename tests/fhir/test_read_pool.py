"""What many calls, many bytes and too few threads may cost the reader of FHIR servers: turns, a budget, no leaks."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from socket import socket
from typing import Any

import pytest

from service.fhir.client import FhirReader, Limits, Pages
from service.fhir.failure import FAILURE_MESSAGES, FailureKind, ReadFailure
from service.fhir.read_pool import CALLS_TOGETHER, ReadPool
from service.net.bulkhead import Bulkhead
from tests.fhir import servers
from tests.fhir.servers import Answer, Request, after, by_target, reply, serving

Answers = Mapping[str, Pages | ReadFailure]
QUERIES = {key: f"Observation?code={key}" for key in "abc"}
ALL = Pages((servers.EMPTY,))


def anywhere(_url: str) -> bool:
    return True


@contextmanager
def reading(together: int = CALLS_TOGETHER, **members: Any) -> Iterator[FhirReader]:
    reader = FhirReader(**{"pool": ReadPool(together=together)} | members)
    yield reader
    reader.close()


def read(reader: FhirReader, base: str, queries: Mapping[str, str] = QUERIES, seconds: float = 10.0) -> Answers:
    return reader.read(base, None, queries, time.monotonic() + seconds, anywhere)


def said(answers: Answers) -> set[str]:
    """What is said of those that were not read in full."""
    failures = [one if isinstance(one, ReadFailure) else one.failure for one in answers.values()]
    return {failure.words if failure else "" for failure in failures}


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


# ── turns ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Busiest:
    """An answer that takes a moment, and the largest number of requests that it ever had at one time."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, request: Request, sock: socket) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.05)
        with self._lock:
            self.now -= 1
        reply()(request, sock)


@pytest.mark.parametrize(
    ("hosts", "together", "most"),
    [(1, 1, 1), (1, 4, 2), (1, 99, 8), (2, 4, 3), (4, 4, 4)],
    ids=["one", "half of all", "no more than there are", "of two servers", "of all servers"],
)
def test_so_many_calls_read_at_one_time_and_in_the_end_all_have_read(hosts, together, most):
    busiest = Busiest()
    with ExitStack() as life, ThreadPoolExecutor(8) as callers:
        bases = [life.enter_context(serving(busiest)).base for _ in range(hosts)]
        reader = life.enter_context(reading(together))
        calls = [callers.submit(read, reader, bases[number % hosts]) for number in range(8)]
        assert all(call.result() == dict.fromkeys(QUERIES, ALL) for call in calls)
    assert 0 < busiest.most <= most * len(QUERIES)


def test_readers_of_one_process_share_their_turns():
    pool = ReadPool(together=1)
    with (
        serving(servers.silence) as hanging,
        serving(reply()) as well,
        reading(pool=pool) as one,
        reading(pool=pool) as other,
        ThreadPoolExecutor(1) as caller,
    ):
        first = caller.submit(read, one, hanging.base, seconds=1.5)
        until(lambda: len(hanging.seen) == len(QUERIES))
        assert said(read(other, well.base, seconds=0.3)) == {FAILURE_MESSAGES["busy"]}
        assert said(first.result()) == {FAILURE_MESSAGES["timeout"]}
        assert read(other, well.base) == dict.fromkeys(QUERIES, ALL)


def test_a_call_without_a_turn_asks_nobody_and_ends_by_its_own_deadline():
    with serving(servers.silence) as hanging, serving(reply()) as well, reading(together=2) as reader:
        with ThreadPoolExecutor(1) as caller:
            first = caller.submit(read, reader, hanging.base, seconds=2.0)
            until(lambda: len(hanging.seen) == len(QUERIES))
            assert said(read(reader, hanging.base, seconds=0.3)) == {FAILURE_MESSAGES["busy"]}
            assert not first.done()
            assert read(reader, well.base) == dict.fromkeys(QUERIES, ALL)  # another server: another turn
        assert len(hanging.seen) == len(QUERIES)
        read(reader, hanging.base, seconds=0.3)
        assert len(hanging.seen) == 2 * len(QUERIES)  # the turn was free again


def test_the_newest_of_those_who_wait_is_called_first():
    bulkhead, order = Bulkhead(1), []

    def take(name: str) -> None:
        order.append((name, bulkhead.acquire("server", time.monotonic() + 10)))
        bulkhead.release("server")

    with ThreadPoolExecutor(3) as callers:
        assert bulkhead.acquire("server", 0.0)
        for number, name in enumerate(("oldest", "middle", "newest"), 1):
            callers.submit(take, name)
            until(lambda number=number: len(bulkhead._waiting) == number)
        bulkhead.release("server")
    assert order == [("newest", True), ("middle", True), ("oldest", True)]


def test_a_crowd_leaves_no_turn_taken_and_nobody_waiting():
    bulkhead = Bulkhead(4)

    def take(number: int) -> bool:
        if had := bulkhead.acquire(number % 3, time.monotonic() + number % 5 / 500):
            time.sleep(0.001)
            bulkhead.release(number % 3)
        return had

    with ThreadPoolExecutor(16) as callers:
        had = list(callers.map(take, range(400)))
    assert set(had) == {True, False}
    assert (bulkhead._taken, bulkhead._waiting) == ({}, [])


def test_servers_that_hang_leave_turns_to_the_others():
    bulkhead = ReadPool().bulkhead
    had = [sum(bulkhead.acquire(server, 0.0) for _ in range(20)) for server in "abcdef"]
    assert had == [8, 4, 2, 1, 1, 0]
    assert sum(had) == CALLS_TOGETHER


def test_a_turn_that_ends_may_make_room_for_two():
    bulkhead, begun = Bulkhead(6), []

    def take(server: str) -> None:
        begun.append(bulkhead.acquire(server, time.monotonic() + 10))

    assert [sum(bulkhead.acquire(server, 0.0) for _ in range(number)) for server, number in (("a", 2), ("b", 2))] == [
        2,
        2,
    ]
    assert not bulkhead.acquire("a", 0.0)  # 2 of 6 are free
    with ThreadPoolExecutor(2) as callers:
        for number, server in enumerate("ab", 1):
            callers.submit(take, server)
            until(lambda number=number: len(bulkhead._waiting) == number)
        bulkhead.release("a")
    assert begun == [True, True]
    assert bulkhead._taken == {"a": 2, "b": 3}


def test_calls_of_hung_servers_do_not_delay_a_call_of_another():
    with ExitStack() as life, serving(reply()) as well, reading() as reader, ThreadPoolExecutor(32) as callers:
        hung = [life.enter_context(serving(servers.silence)) for _ in range(2)]
        calls = [
            callers.submit(read, reader, server.base, seconds=4.0) for server in hung for _ in range(CALLS_TOGETHER)
        ]
        until(lambda: all(server.seen for server in hung) and len(reader._pool.bulkhead._waiting) > CALLS_TOGETHER)
        assert read(reader, well.base) == dict.fromkeys(QUERIES, ALL)
        assert not any(call.done() for call in calls)


def test_a_call_whose_reads_do_not_end_gives_its_turn_back_when_they_have():
    looked_up = threading.Event()

    def slowly(_url: str) -> bool:
        """Does in the threads that read what looking up a name may do: last longer than any deadline."""
        return not threading.current_thread().name.startswith("fhir-read") or looked_up.wait(20)

    with serving(reply()) as server, serving(reply()) as well, reading(together=2) as reader:
        first = reader.read(server.base, None, QUERIES, time.monotonic() + 0.3, slowly)
        assert said(first) == {FAILURE_MESSAGES["timeout"]}
        assert said(read(reader, server.base, seconds=0.3)) == {FAILURE_MESSAGES["busy"]}
        assert read(reader, well.base) == dict.fromkeys(QUERIES, ALL)
        looked_up.set()
        assert read(reader, server.base) == dict.fromkeys(QUERIES, ALL)
        until(lambda: reader._pool.bulkhead._taken == {})


# ── threads ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def no_more_threads() -> Iterator[None]:
    """The system refuses to start threads, as at a limit of processes: no memory is large enough for their stacks."""
    usual = threading.stack_size(1 << 46)
    try:
        yield
    finally:
        threading.stack_size(usual)


def test_without_a_thread_each_key_fails_at_once_and_the_next_call_reads():
    with serving(reply()) as server:
        for _ in range(3):
            with reading(together=1) as reader:
                with no_more_threads():
                    start = time.monotonic()
                    assert said(read(reader, server.base)) == {FAILURE_MESSAGES["no-thread"]}
                    assert time.monotonic() - start < 5
                assert read(reader, server.base) == dict.fromkeys(QUERIES, ALL)
                assert reader._pool.bulkhead._taken == {}


def readers_at_work() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("fhir-read")}


def test_there_are_no_more_threads_however_many_servers_are_read():
    before = readers_at_work()
    with ExitStack() as life:
        pool = ReadPool(reads=len(QUERIES), together=2)
        readers = [life.enter_context(reading(pool=pool)) for _ in range(2)]
        for number in range(8):
            server = life.enter_context(serving(after(0.05, reply())))
            assert read(readers[number % 2], server.base) == dict.fromkeys(QUERIES, ALL)
        assert len(QUERIES) <= len(readers_at_work() - before) <= pool.size


def test_after_closing_no_thread_is_started():
    before = readers_at_work()
    with serving(reply()) as server, reading() as reader:
        reader.close()
        assert said(read(reader, server.base)) == {FAILURE_MESSAGES["no-thread"]}
        assert readers_at_work() <= before
    assert server.seen == []


def test_a_read_that_finds_its_threads_retired_by_another_call_asks_the_next_ones():
    pool = ReadPool()
    with ThreadPoolExecutor(4) as callers:
        reads = [callers.submit(lambda: pool.submit(int).result()) for _ in range(400)]
        while not all(read.done() for read in reads):
            pool._retire(pool._threads)
    pool.close()
    assert [read.result() for read in reads] == [0] * 400


def test_with_too_few_threads_some_keys_are_read_and_later_all_at_the_same_moment():
    together = threading.Barrier(len(QUERIES))

    def once_all_are_here(request: Request, sock: socket) -> None:
        together.wait(timeout=5)
        reply()(request, sock)

    with serving(by_target({"one": reply()}, once_all_are_here)) as server, reading() as reader:
        one = {"key": "Observation?code=one"}
        assert read(reader, server.base, one) == {"key": ALL}  # there is one thread now
        time.sleep(0.1)  # and it is idle
        many = dict.fromkeys("abcdef", "Observation?code=one")
        with no_more_threads():
            answers = read(reader, server.base, many)
        assert ALL in answers.values()
        assert FAILURE_MESSAGES["no-thread"] in said(answers)
        time.sleep(0.3)  # the thread has come to rest
        assert read(reader, server.base) == dict.fromkeys(QUERIES, ALL)


def test_closing_between_two_reads_of_a_call_is_no_error():
    with serving(reply()) as server, reading() as reader, ThreadPoolExecutor(4) as callers:
        calls: list[Future[Answers]] = [callers.submit(read, reader, server.base, seconds=0.2) for _ in range(40)]
        while not all(call.done() for call in calls):
            reader.close()
        assert all(call.result().keys() == QUERIES.keys() for call in calls)


# ── bytes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def filled(size: int) -> bytes:
    """A Bundle of so many bytes."""
    return b'{"resourceType":"Bundle","id":"%s"}' % (b"x" * (size - 33))


def test_a_filled_bundle_has_the_size_that_is_asked_for():
    assert len(filled(700)) == 700


FIRST: dict[str, tuple[Answer, str]] = {
    "fits": (reply(filled(300)), ""),
    "without end": (servers.endless(b" " * 100), FAILURE_MESSAGES["too-large"]),
    "too much at once": (reply(b" " * 5000), FAILURE_MESSAGES["too-large"]),
    "no JSON": (reply(b"<" * 700), FAILURE_MESSAGES["not-json"]),
    "broken twice": (servers.then_close(reply(b" " * 700, content_length="900")), FAILURE_MESSAGES["broken"]),
}


@pytest.mark.parametrize(("first", "words"), FIRST.values(), ids=FIRST)
def test_what_one_query_was_refused_is_left_for_the_others(first, words):
    queries = {"first": "first", "second": "second"}
    answer = by_target({"first": first, "second": after(0.5, reply(filled(700)))})
    with serving(answer) as server, reading(limits=Limits(max_bytes=1000)) as reader:
        answers = read(reader, server.base, queries)
    assert said({"first": answers["first"]}) == {words}
    assert answers["second"] == Pages((filled(700),))


def test_the_budget_is_for_all_queries_and_pages_of_a_call():
    with serving(reply(filled(400))) as server, reading(limits=Limits(max_bytes=1000)) as reader:
        for _ in range(2):  # and each call has its own
            answers = read(reader, server.base)
            whole = [one for one in answers.values() if isinstance(one, Pages)]
            assert [one.complete for one in whole] == [True, True]
            assert said(answers) == {"", FAILURE_MESSAGES["too-large"]}


def test_a_query_beyond_the_budget_keeps_the_pages_it_has():
    answers: dict[str, Answer] = {}
    with (
        serving(lambda request, sock: by_target(answers)(request, sock)) as server,
        reading(limits=Limits(max_bytes=1000)) as reader,
    ):
        first = servers.bundle("a", f"{server.base}/Observation?page=2")
        answers |= {"page=1": reply(first), "page=2": reply(filled(950)), "other": after(0.5, reply(filled(500)))}
        found = read(reader, server.base, {"paged": "Observation?page=1", "other": "Observation?code=other"})
    assert found["paged"] == Pages((first,), ReadFailure(FailureKind("too-large")))
    assert found["other"] == Pages((filled(500),))


def peak_of(work: Callable[[], object]) -> int:
    """The most bytes that were allocated at one time meanwhile."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_answers_without_end_to_all_queries_hold_no_more_than_the_budget():
    queries = {str(number): "Observation" for number in range(16)}
    with serving(servers.endless()) as server, reading() as reader:
        answers: dict[str, Pages | ReadFailure] = {}
        peak = peak_of(lambda: answers.update(read(reader, server.base, queries)))
    assert said(answers) == {FAILURE_MESSAGES["too-large"]}
    assert peak < 2 * Limits().max_bytes


def test_a_long_answer_is_held_once():
    size = 7_000_000
    with serving(reply(filled(size))) as server, reading() as reader:
        peak = peak_of(lambda: read(reader, server.base, {"key": "Observation"}))
    assert size < peak < 1.5 * size
