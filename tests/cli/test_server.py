"""The web server as a process of its own, before clients that are slow, silent, many, or there when it is to stop."""

import re
import signal
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from resource import RLIMIT_NOFILE, setrlimit
from threading import Thread
from time import monotonic, sleep
from types import SimpleNamespace
from urllib.request import urlopen

import msgspec
import pytest

from service.api.http.concurrency import LARGE_BODY_BYTES, MAX_LARGE_BODIES
from service.server import FIRST_BYTE_SECONDS, READ_SECONDS, Worker
from tests.cli.test_serve import COMMAND, answer, environment, port
from tests.contract.messages import hook_request
from tests.fhir.servers import deaf

__all__ = ["port"]

PATH = "/cds-services/magnesium-patient-view"
BODY = msgspec.json.encode(hook_request())
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n"
WHOLE = f"{HEAD}Connection: close\r\n\r\n".encode() + BODY
CHUNKED = (
    f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
)
LATE = 4 * READ_SECONDS


@pytest.fixture
def serving(tmp_path, port):
    """Starts the service with so many threads, and open files at most; ends it whatever happens."""

    @contextmanager
    def start(threads, site="", files=None, **more):
        (tmp_path / "site.toml").write_text(site)
        ours = {
            "PORT": str(port),
            "WEB_THREADS": str(threads),
            "MAGNESIUM_CDS_SITE": str(tmp_path / "site.toml"),
        } | more
        limit = partial(setrlimit, RLIMIT_NOFILE, (files, files)) if files else None
        with (
            (tmp_path / "log").open("w") as log,
            subprocess.Popen(
                COMMAND, env=environment(tmp_path, **ours), stderr=subprocess.PIPE, stdout=log, preexec_fn=limit
            ) as process,
        ):
            try:
                assert answer(port, process) == 200
                yield process
            finally:
                process.kill() if process.poll() is None else None

    return start


def connected(port):
    link = socket.create_connection(("127.0.0.1", port), LATE)
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return link


def said(link):
    """Everything that the service says on this connection, or b"" if it broke it off."""
    heard = b""
    try:
        while piece := link.recv(65536):
            heard += piece
    except ConnectionError:
        return b""
    return heard


def say(port, words):
    with connected(port) as link:
        link.sendall(words)
        return said(link)


def call(port):
    return say(port, WHOLE)


def test_connections_that_say_nothing_hold_no_thread(serving, port):
    with serving(threads=2), ExitStack() as held:
        for _ in range(64):
            held.enter_context(connected(port))
        started = monotonic()
        assert call(port).startswith(b"HTTP/1.1 200")
        assert monotonic() - started < READ_SECONDS / 2  # gunicorn alone: 160 s


def test_requests_that_drip_take_no_thread_and_delay_nobody(serving, port):
    """Of 7/8, point 5: 130 dripping heads cost everybody 3.9 s."""
    with serving(threads=4) as process, ExitStack() as held:
        links = [held.enter_context(connected(port)) for _ in range(130)]
        for number, link in enumerate(links):
            link.sendall(HEAD[:-20].encode() if number % 2 else HEAD.encode() + b"\r\n" + BODY[:-10])
        for _ in range(5):
            for number, link in enumerate(links):
                with suppress(OSError):
                    link.sendall(b"x" if number % 2 else b" ")
            started = monotonic()
            assert call(port).startswith(b"HTTP/1.1 200")
            assert monotonic() - started < 1
        assert process.poll() is None
        assert {said(link)[:12] for link in links} <= {b"", b"HTTP/1.1 408"}  # given up


def test_half_sent_requests_are_given_up_and_half_sent_bodies_told_so(serving, port):
    with serving(threads=4), ExitStack() as held:
        heads = [held.enter_context(connected(port)) for _ in range(2)]
        bodies = [held.enter_context(connected(port)) for _ in range(2)]
        for link in heads:
            link.sendall(HEAD[:-10].encode())
        for link in bodies:
            link.sendall(HEAD.encode() + b"\r\n" + BODY[:-10])
        assert call(port).startswith(b"HTTP/1.1 200")  # once they are given up: gunicorn alone waits for ever
        assert [said(link) for link in heads] == [b"", b""]
        for heard in map(said, bodies):
            assert heard.startswith(b"HTTP/1.1 408")
            assert b'"code":"timeout"' in heard


GOING_ON = {
    "a byte now and then": (HEAD.encode() + b"\r\n", b" ", 0.1),
    "a chunk as often as it can": (CHUNKED.encode(), b"1\r\n \r\n", 0.0),
    "more, after it was answered": (WHOLE, b" " * 1000, 0.0),
}


@pytest.mark.parametrize("name", GOING_ON)
def test_a_client_that_goes_on_sending_gets_no_more_time_than_one_that_stops(serving, port, name):
    head, more, pause = GOING_ON[name]
    with serving(threads=1), connected(port) as link:
        link.sendall(head)
        started = monotonic()
        with suppress(OSError):  # reset or broken, as it happens
            while monotonic() - started < LATE:
                link.sendall(more)
                sleep(pause)
        assert monotonic() - started < READ_SECONDS + 5
        assert call(port).startswith(b"HTTP/1.1 200")


def test_clients_that_do_not_take_their_answers_are_left(serving, port):
    many = b"GET /openapi.yaml HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500  # 40 MB, more than the system holds for them
    with serving(threads=2), ExitStack() as held:
        for _ in range(2):
            held.enter_context(connected(port)).sendall(many)
        sleep(1)  # until nothing more goes out
        assert call(port).startswith(b"HTTP/1.1 200")  # gunicorn alone waits for ever


def test_more_silent_connections_than_may_be_served_shut_the_door_for_nobody(serving, port):
    with serving(threads=2), ExitStack() as held:
        for _ in range(1100):
            held.enter_context(connected(port))
        started = monotonic()
        assert call(port).startswith(b"HTTP/1.1 200")
        assert monotonic() - started < FIRST_BYTE_SECONDS / 2


def test_where_no_more_files_may_be_opened_callers_wait_and_the_worker_lives(serving, port):
    with serving(threads=2, files=64) as process:
        worker = workers_of(process)
        with ExitStack() as held:
            for _ in range(100):
                held.enter_context(connected(port))
            waiting = held.enter_context(connected(port))
            waiting.sendall(WHOLE)
            sleep(1)
        assert call(port).startswith(b"HTTP/1.1 200")
        assert workers_of(process) == worker


def workers_of(process):
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()


def test_threads_that_cannot_be_had_are_told_at_the_start(monkeypatch):
    """Those that were had are let go: a process that waits for them would never end."""
    begun, start = [], Thread.start

    def few(thread):
        if len(begun) == 3:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    monkeypatch.setattr(Thread, "start", few)
    worker = Worker.__new__(Worker)
    worker.cfg = SimpleNamespace(threads=5)
    worker.tpool = worker.get_thread_pool()
    with pytest.raises(RuntimeError, match="can't start new thread"):
        worker.load_wsgi()


def test_clients_that_do_not_close_hold_up_nobody(serving, port):
    with serving(threads=8), ExitStack() as held:
        started = monotonic()
        for _ in range(8):
            link = held.enter_context(connected(port))
            link.sendall(WHOLE)  # and then stays
            assert link.recv(12) == b"HTTP/1.1 200"
        assert call(port).startswith(b"HTTP/1.1 200")
        assert monotonic() - started < 6  # gunicorn alone: 2 s for each of them


@pytest.mark.parametrize("chunks", [b"5;a=b\n{}\r\n", b"0x5\r\nhello\r\n", b"2\r\n{}xx", b"-1\r\n", b"g\r\n"])
def test_chunks_that_are_none_are_400_and_no_fault_of_ours(serving, port, chunks):
    with serving(threads=2):
        with connected(port) as link:
            link.sendall(CHUNKED.encode() + chunks)
            link.shutdown(socket.SHUT_WR)
            heard = said(link)
        assert heard.startswith(b"HTTP/1.1 400")
        assert b"OperationOutcome" in heard
        with urlopen(f"http://127.0.0.1:{port}/metrics") as metrics:
            faults = re.findall(rb'magnesium_cds_requests_total\{[^}]*status="5..".*?\} (\S+)', metrics.read())
        assert set(faults) == {b"0.0"}


CODINGS = ["gzip, chunked", "gzip", "identity, chunked", "chunked, chunked", "foo", "chunked, foo", "xchunked", ""]


@pytest.mark.parametrize("coding", CODINGS)
def test_a_transfer_coding_that_is_not_known_is_400(serving, port, coding):
    head = CHUNKED.replace("Encoding: chunked", f"Encoding: {coding}\r\nConnection: close").encode()
    with serving(threads=2):
        assert say(port, head + b"0\r\n\r\n").startswith(b"HTTP/1.1 400 ")
        assert call(port).startswith(b"HTTP/1.1 200")


def test_callers_who_wait_for_a_fhir_server_leave_room_for_those_who_need_none(serving, port):
    """Three times as many as may be worked on at one time."""
    patient = "[service]\ndeadline_ms = 5000\n"
    with serving(threads=64, site=patient), deaf() as base, ThreadPoolExecutor(24) as waiting:
        asking = msgspec.json.encode(hook_request(fhirServer=base) | {"prefetch": None})
        head = HEAD.replace(str(len(BODY)), str(len(asking)))
        sent = [waiting.submit(say, port, f"{head}Connection: close\r\n\r\n".encode() + asking) for _ in range(24)]
        assert call(port).startswith(b"HTTP/1.1 200")
        assert not any(each.done() for each in sent)
        assert {each.result(LATE)[:12] for each in sent} == {b"HTTP/1.1 412"}


def test_large_bodies_that_do_not_arrive_refuse_nobody_else(serving, port):
    """Of 7/8, points 1 and 5: a slot is for a body that is here, so that half-sent ones take none."""
    stated = f"Length: {LARGE_BODY_BYTES + 1}"
    head = HEAD.replace(f"Length: {len(BODY)}", stated).encode() + b"Connection: close\r\n\r\n"
    with serving(threads=16), ExitStack() as held:
        links = [held.enter_context(connected(port)) for _ in range(2 * MAX_LARGE_BODIES)]
        for link in links:
            link.sendall(head + b" " * LARGE_BODY_BYTES)
        started = monotonic()
        chunk = b"%x\r\n" % (LARGE_BODY_BYTES + 1) + b" " * LARGE_BODY_BYTES + b"{\r\n0\r\n\r\n"
        chunked = CHUNKED.encode()[:-2] + b"Connection: close\r\n\r\n" + chunk
        for whole, status in ((WHOLE, 200), (head + b" " * LARGE_BODY_BYTES + b"{", 400), (chunked, 400)):
            assert say(port, whole).startswith(b"HTTP/1.1 %d" % status)
        assert monotonic() - started < READ_SECONDS / 2
        assert {said(link)[:12] for link in links} == {b"HTTP/1.1 408"}


UNREADABLE = {
    "a body that is longer than was said": WHOLE.replace(f"Length: {len(BODY)}".encode(), b"Length: 2").replace(
        b"Connection: close\r\n", b""
    )
    + b"\r\n\r\n",
    "a header without a colon": f"{HEAD}Authorization Bearer wise-1\r\n\r\n".encode(),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_the_log_quotes_nothing_of_what_the_server_cannot_read(serving, tmp_path, port, name):
    with serving(threads=2) as process:
        with connected(port) as link:
            link.sendall(UNREADABLE[name])
            link.shutdown(socket.SHUT_WR)
            assert b" 400 Bad Request" in said(link)
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    words = (tmp_path / "log").read_text()
    assert "Invalid request from" in words
    assert not [word for word in ("wise-1", "prefetch", "hookInstance", "Bearer") if word in words]


def test_whoever_has_reached_it_when_it_is_told_to_stop_is_answered(serving, port):
    """Clients come one after the other, as fast as they can, until nobody listens any more."""
    with serving(threads=2) as process, ThreadPoolExecutor(8) as clients, ExitStack() as held:
        silent = [held.enter_context(connected(port)) for _ in range(3)]
        outcomes = [clients.submit(calls_until_refused, port) for _ in range(8)]
        sleep(0.5)
        process.send_signal(signal.SIGTERM)
        told = monotonic()
        heard = [words for outcome in outcomes for words in outcome.result(LATE)]
        assert process.wait(30) == 0
        assert monotonic() - told < FIRST_BYTE_SECONDS / 2  # the silent ones hold up nobody
        assert [said(link) for link in silent] == [b""] * 3
    lost = [words for words in heard if not words.startswith(b"HTTP/1.1 200")]
    assert len(heard) > 8
    assert len(lost) <= 2  # who arrives in the moment between the last look and the closing of the door


def calls_until_refused(port):
    heard = []
    while True:
        try:
            link = connected(port)
        except ConnectionError:
            return heard
        with link, suppress(ConnectionError):
            heard.append(b"")
            link.sendall(WHOLE)
            heard[-1] = said(link)
