"""The FHIR reader against real local servers: parallel, paged, bounded, worded, silent about patients and tokens."""

from __future__ import annotations

import gzip
import logging
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from service.fhir.client import FhirReader, Limits, Pages, _origin
from service.fhir.failure import FAILURE_MESSAGES, FailureKind, ReadFailure
from service.fhir.read_pool import ReadPool
from service.net import connections as net_connections
from tests.fhir import servers
from tests.fhir.servers import (
    after,
    bundle,
    by_connection,
    by_target,
    drip,
    in_turn,
    raw,
    reply,
    serving,
    then_close,
    then_reset,
)  # fmt: skip

TOKEN = "canary-token-7f3a"
PATIENT = "canary-patient-91c"
QUERY = f"Observation?patient={PATIENT}&code=http://loinc.org|19123-9&_sort=-date&_count=5"
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def reader():
    reader = FhirReader()
    yield reader
    reader.close()


def anywhere(_url: str) -> bool:
    return True


def read(reader, base, query=QUERY, seconds=3.0, token=TOKEN, allowed=anywhere):
    return reader.read(base, token, {"key": query}, time.monotonic() + seconds, allowed)["key"]


def words(result) -> str:
    assert isinstance(result, ReadFailure), result
    return result.words


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_search_is_a_get_with_the_token_in_its_header_and_nothing_else_of_ours(reader):
    with serving(reply()) as server:
        assert read(reader, server.base) == Pages((servers.EMPTY,))
    (request,) = server.seen
    assert request.method == "GET"
    assert urlsplit(request.target).path == "/fhir/Observation"
    assert parse_qs(urlsplit(request.target).query)["code"] == ["http://loinc.org|19123-9"]
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["accept"] == "application/fhir+json"
    assert set(request.headers) == {"host", "authorization", "accept", "accept-encoding", "user-agent"}


def test_without_a_token_no_authorization_is_sent_even_after_a_call_with_one(reader):
    with serving(reply(set_cookie="session=1; Path=/")) as server:
        read(reader, server.base, "Patient/1")
        read(reader, server.base, "Patient/1", token=None)
    first, second = server.seen
    assert "authorization" in first.headers
    assert not {"authorization", "cookie"} & set(second.headers)


def test_the_base_may_end_in_a_slash(reader):
    with serving(reply(b'{"resourceType":"Patient"}')) as server:
        read(reader, server.base + "/", "Patient/1")
    assert server.seen[0].target == "/fhir/Patient/1"


def test_a_search_too_long_for_a_url_is_posted_with_the_same_parameters(reader):
    codes = ",".join(f"http://loinc.org|{number}-9" for number in range(200))
    query = f"Observation?patient={PATIENT}&code={codes}&_sort=-date&date=ge2025-01-01T00:00:00%2B02:00"
    with serving(reply()) as server:
        assert read(reader, server.base, query) == Pages((servers.EMPTY,))
    (request,) = server.seen
    assert (request.method, request.target) == ("POST", "/fhir/Observation/_search")
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert parse_qs(request.body.decode()) == {
        "patient": [PATIENT],
        "code": [codes],
        "_sort": ["-date"],
        "date": ["ge2025-01-01T00:00:00+02:00"],
    }


def test_no_environment_proxy_is_used(reader, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with serving(reply()) as server:
        assert isinstance(read(reader, server.base), Pages)


@pytest.mark.parametrize(
    "token", ["two\r\nlines", "snowman-☃", "caf\xe9"], ids=["line break", "not Latin-1", "not ASCII"]
)
def test_a_token_that_no_header_can_carry_is_a_failure_and_sends_nothing(reader, token):
    with serving(reply()) as server:
        assert words(read(reader, server.base, token=token)) == FAILURE_MESSAGES["bad-request"]
    assert server.seen == []


def test_connections_are_used_again(reader):
    with serving(reply()) as server:
        for _ in range(5):
            read(reader, server.base)
    assert server.connections == 1


def test_a_connection_that_has_rested_for_long_is_not_used_again(reader, monkeypatch):
    monkeypatch.setattr(net_connections, "MAX_IDLE_SECONDS", 0.2)
    with serving(by_connection(reply(), servers.silence)) as server:  # as if a firewall had forgotten it
        for _ in range(3):
            assert isinstance(read(reader, server.base, seconds=2.0), Pages)
            time.sleep(0.3)
    assert server.connections == 3


CUTS = {
    "reset": then_reset(raw(b"")),
    "closed": then_close(raw(b"")),
    "cut": then_close(raw(OK + b"content-length: 9\r\n\r\n{")),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("max_url", [2000, 10], ids=["GET", "POST"])
def test_a_server_that_cuts_whatever_is_used_again_fails_no_read(cut, max_url):
    reader = FhirReader(limits=Limits(max_url=max_url))
    queries = {str(number): f"Observation?code={number}" for number in range(6)}
    with serving(by_connection(reply(), cut)) as server:
        for _ in range(4):
            results = reader.read(server.base, TOKEN, queries, time.monotonic() + 5, anywhere)
            assert set(map(type, results.values())) == {Pages}, results
    reader.close()


# ── together, and in time ────────────────────────────────────────────────────────────────────────────────────────────


def test_all_queries_of_a_call_are_under_way_at_the_same_moment(reader):
    together = threading.Barrier(12)

    def once_all_are_here(request, sock):
        together.wait(timeout=5)
        reply()(request, sock)

    with serving(once_all_are_here) as server:
        queries = {str(number): f"Observation?code={number}" for number in range(12)}
        results = reader.read(server.base, TOKEN, queries, time.monotonic() + 5, anywhere)
    assert all(result == Pages((servers.EMPTY,)) for result in results.values())


def test_twelve_reads_take_hardly_longer_than_one(reader):
    def seconds(count: int) -> float:
        queries = {str(number): f"Observation?code={number}" for number in range(count)}
        start = time.monotonic()
        results = reader.read(server.base, TOKEN, queries, start + 10, anywhere)
        assert all(isinstance(result, Pages) for result in results.values())
        return time.monotonic() - start

    with serving(after(0.05, reply())) as server:
        alone = min(seconds(1) for _ in range(3))
        assert min(seconds(12) for _ in range(7)) < 1.8 * alone  # two rounds would be 2, one after the other 12


def test_the_answers_belong_to_their_keys(reader):
    with serving(
        by_target({f"/{name}/": after(delay, reply(bundle(name))) for name, delay in SLOWER.items()})
    ) as server:
        queries = {name: f"{name}/1" for name in SLOWER}
        results = reader.read(server.base, TOKEN, queries, time.monotonic() + 3, anywhere)
    assert results == {name: Pages((bundle(name),)) for name in SLOWER}


SLOWER = {"Patient": 0.1, "Encounter": 0.0, "Condition": 0.05}


def test_a_slow_key_costs_only_itself(reader):
    with serving(by_target({"Patient": servers.silence}, otherwise=reply())) as server:
        queries = {"patient": "Patient/1", "magnesium": "Observation?code=1"}
        results = reader.read(server.base, TOKEN, queries, time.monotonic() + 0.4, anywhere)
    assert words(results["patient"]) == FAILURE_MESSAGES["timeout"]
    assert results["magnesium"] == Pages((servers.EMPTY,))


def test_of_a_call_with_more_queries_than_there_are_threads_the_rest_waits_until_the_deadline():
    reader = FhirReader(pool=ReadPool(reads=2, together=1))
    queries = {str(number): "Patient/1" for number in range(6)}
    with serving(servers.silence) as server:
        results = reader.read(server.base, TOKEN, queries, time.monotonic() + 0.5, anywhere)
        assert {words(result) for result in results.values()} == {FAILURE_MESSAGES["timeout"]}
        assert len(server.seen) == 2
        read(reader, server.base, seconds=0.3)
        assert len(server.seen) == 3  # a thread was free again
    reader.close()


def test_a_deadline_in_the_past_asks_nobody(reader):
    with serving(reply()) as server:
        assert words(read(reader, server.base, seconds=-1)) == FAILURE_MESSAGES["busy"]  # its time went elsewhere
    assert server.seen == []


def test_closing_while_reads_wait_ends_them_as_failures_not_as_errors():
    reader = FhirReader(pool=ReadPool(reads=1, together=1))
    results = {}

    def call():
        queries = {"first": "Patient/1", "waiting": "Patient/2"}
        results.update(reader.read(server.base, TOKEN, queries, time.monotonic() + 0.5, anywhere))

    with serving(servers.silence) as server:
        calling = threading.Thread(target=call)
        calling.start()
        time.sleep(0.1)
        reader.close()
        calling.join()
    assert {words(result) for result in results.values()} == {FAILURE_MESSAGES["timeout"]}


def test_no_queries_no_requests(reader):
    assert reader.read("http://127.0.0.1:9/fhir", None, {}, time.monotonic() + 1, anywhere) == {}


NEVER_IN_TIME = {
    "takes the request and is silent": servers.silence,
    "drips its status line": drip(b"HTTP/1.1 200 " + b"O" * 5000),
    "drips endless headers": drip(OK + b"x: y\r\n" * 5000),
    "drips its body": drip(OK + b"content-length: 9999\r\n\r\n" + b" " * 9999),
    "drips chunk sizes": drip(CHUNKED + b"1;" + b"x" * 5000),
    "says Continue for ever": drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000, 0.001),
    "answers too late": after(1.5, reply()),
    "drips with pauses": drip(OK + b"content-length: 99\r\n\r\n" + b" " * 99, 0.2),
}


@pytest.mark.parametrize("answer", NEVER_IN_TIME.values(), ids=NEVER_IN_TIME)
def test_the_deadline_holds_whatever_the_server_does(reader, answer):
    with serving(answer) as server:
        start = time.monotonic()
        result = read(reader, server.base, seconds=0.4)
        assert time.monotonic() - start < 0.8
        assert words(result) == FAILURE_MESSAGES["timeout"]
    time.sleep(0.05)
    assert not stuck_readers()


def stuck_readers() -> list[str]:
    """Threads of readers that still wait for a server (idle ones wait for work)."""
    import sys

    frames = sys._current_frames()
    names = {thread.ident: thread.name for thread in threading.enumerate() if thread.name.startswith("fhir-read")}
    return [name for ident, name in names.items() if frames[ident].f_code.co_name == "readinto"]


# ── what comes back ──────────────────────────────────────────────────────────────────────────────────────────────────

FAULTS = {
    "nothing is there (404)": (reply(b"{}", 404), "404"),
    "it was deleted (410)": (reply(b"{}", 410), "410"),
    "the query is not understood (400)": (reply(b"{}", 400), "400"),
    "the token is not accepted (401)": (reply(b"{}", 401), "401"),
    "a scope is missing (403)": (reply(b"{}", 403), "403"),
    "too many requests, no time named (429)": (reply(b"{}", 429), "429"),
    "too many requests, come back in an hour": (reply(b"{}", 429, retry_after="3600"), "429"),
    "too many requests, a date": (reply(b"{}", 429, retry_after="Wed, 21 Oct 2015 07:28:00 GMT"), "429"),
    "an empty answer (204)": (raw(b"HTTP/1.1 204 No Content\r\n\r\n"), "2xx"),
    "an HTML error page with 200": (reply(b"<html><body>Error</body></html>", content_type="text/html"), "not-json"),
    "a JSON list": (reply(b"[1, 2]"), "not-json"),
    "a JSON string": (reply(b'"Bundle"'), "not-json"),
    "nothing at all with 200": (reply(b""), "not-json"),
    "half a JSON object": (reply(b'{"resourceType": "Bun'), "not-json"),
    "two JSON objects": (reply(b"{}{}"), "not-json"),
    "nesting without end": (reply(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "not-json"),
    "bytes that are no text": (reply(b'{"link": "\xff\xfe"}'), "not-json"),
    "gzip that is none": (reply(b"not gzip", content_encoding="gzip"), "broken"),
    "a body cut short": (then_close(raw(OK + b"content-length: 500\r\n\r\n{")), "broken"),
    "chunks cut short": (then_close(raw(CHUNKED + b"ff\r\n{")), "broken"),
    "a reset in the body": (then_reset(raw(OK + b"content-length: 500\r\n\r\n{")), "broken"),
    "a reset instead of an answer": (then_reset(raw(b"")), "broken"),
    "closing without an answer": (then_close(raw(b"")), "broken"),
    "garbage": (then_close(raw(b"\x00\xff GARBAGE\r\n\r\n")), "broken"),
    "a header without end": (raw(OK + b"x: " + b"y" * 200_000), "broken"),
    "too many headers": (raw(OK + b"x: y\r\n" * 500 + b"\r\n"), "broken"),
    "two lengths": (raw(OK + b"content-length: 1,2\r\n\r\n{}"), "broken"),
    "chunks that are none": (raw(CHUNKED + b"zz\r\n{}\r\n"), "broken"),
    "chunks for ever": (servers.endless(), "too-large"),
    "a huge body": (reply(b" " * 9_000_000), "too-large"),
    "a small body that unpacks to a huge one": (
        reply(gzip.compress(b" " * 50_000_000), content_encoding="gzip"),
        "too-large",
    ),
}


@pytest.mark.parametrize(("answer", "kind"), FAULTS.values(), ids=FAULTS)
def test_each_fault_has_its_words(reader, answer, kind):
    with serving(answer) as server:
        start = time.monotonic()
        assert words(read(reader, server.base)).startswith(FAILURE_MESSAGES[kind])
        assert time.monotonic() - start < 2.5  # far from the deadline


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (201, "2xx"),
        (301, "3xx"),
        (302, "3xx"),
        (307, "3xx"),
        (406, "4xx"),
        (500, "5xx"),
        (503, "5xx"),
        (999, "???"),
    ],
)
def test_other_statuses_are_worded_by_class_with_their_number(reader, status, expected):
    with serving(reply(b"{}", status, location="http://127.0.0.1:9/elsewhere")) as server:
        assert words(read(reader, server.base)) == f"{FAILURE_MESSAGES[expected]} ({status})"


def test_a_redirect_is_not_followed_and_its_body_not_read(reader):
    with serving(reply()) as other:
        there = other.base.encode() + b"/Patient/1"
        endless_redirect = raw(b"HTTP/1.1 302 Found\r\nlocation: " + there + b"\r\ncontent-length: 99999999\r\n\r\n")
        with serving(endless_redirect) as server:
            start = time.monotonic()
            assert words(read(reader, server.base)).startswith(FAILURE_MESSAGES["3xx"])
            assert time.monotonic() - start < 1
    assert other.seen == []


def test_a_port_where_nobody_listens_is_refused_at_once(reader):
    with servers.nobody() as base:
        start = time.monotonic()
        assert words(read(reader, base)) == FAILURE_MESSAGES["refused"]
        assert time.monotonic() - start < 1


def test_a_port_that_does_not_accept_costs_the_connect_timeout_only(reader):
    with servers.unconnectable() as base:
        start = time.monotonic()
        assert words(read(reader, base, seconds=5)) == FAILURE_MESSAGES["connect-timeout"]
        assert time.monotonic() - start < 2


def test_a_name_that_does_not_exist_says_so(reader):
    assert words(read(reader, "http://no-such-server.invalid/fhir", seconds=10)) == FAILURE_MESSAGES["name"]


def test_a_base_that_is_no_address_is_a_failure(reader):
    for base in ("", "fhir", "http://", "http://[::1/fhir", "ftp://x/fhir", "http://a..b/fhir"):
        assert isinstance(read(reader, base), ReadFailure), base


@pytest.mark.parametrize(
    "body",
    [
        b'{"resourceType":"Patient","link":[{"other":{"reference":"Patient/2"},"type":"seealso"}]}',
        b'{"resourceType":"Patient","link":[{"relation":"next","url":"http://127.0.0.1:9/"}]}',
        b'{"resourceType":"Bundle","link":"next"}',
        b'{"resourceType":"Bundle","link":[null,3,{"relation":["next"]},{"relation":"next"},{"relation":"next","url":7}]}',
        b'{"resourceType":7,"link":{}}',
        b'{"resourceType":"OperationOutcome","issue":[]}',
    ],
)
def test_odd_links_are_no_next_page(reader, body):
    with serving(reply(body)) as server:
        assert read(reader, server.base) == Pages((body,))


def test_a_byte_order_mark_is_taken_off(reader):
    with serving(reply(b"\xef\xbb\xbf" + servers.EMPTY)) as server:
        assert read(reader, server.base) == Pages((servers.EMPTY,))


def test_a_packed_answer_is_unpacked(reader):
    with serving(reply(gzip.compress(servers.EMPTY), content_encoding="gzip")) as server:
        assert read(reader, server.base) == Pages((servers.EMPTY,))


# ── a second try ─────────────────────────────────────────────────────────────────────────────────────────────────────

PASSING = {
    "502": reply(b"{}", 502),
    "503": reply(b"{}", 503),
    "503, soon": reply(b"{}", 503, retry_after="1"),
    "504": reply(b"{}", 504),
    "429, at once": reply(b"{}", 429, retry_after="0"),
    "reset": then_reset(raw(b"")),
    "cut": then_close(raw(OK + b"content-length: 500\r\n\r\n{")),
}


@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
def test_passing_trouble_is_tried_once_more(reader, trouble):
    with serving(in_turn(trouble, reply())) as server:
        assert isinstance(read(reader, server.base), Pages)
    assert len(server.seen) == 2


@pytest.mark.parametrize("trouble", PASSING.values(), ids=PASSING)
def test_but_never_twice_more(reader, trouble):
    with serving(in_turn(trouble, trouble, reply())) as server:
        assert isinstance(read(reader, server.base), ReadFailure)
    assert len(server.seen) == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 500, 501])
def test_what_will_not_pass_is_not_tried_again(reader, status):
    with serving(reply(b"{}", status, retry_after="0")) as server:
        read(reader, server.base)
    assert len(server.seen) == 1


def test_a_posted_search_is_not_tried_again():
    reader = FhirReader(limits=Limits(max_url=10))
    with serving(reply(b"{}", 503)) as server:
        read(reader, server.base)
    assert [request.method for request in server.seen] == ["POST"]
    reader.close()


def test_no_second_try_that_the_deadline_would_cut_off(reader):
    with serving(reply(b"{}", 503, retry_after="1")) as server:
        start = time.monotonic()
        assert words(read(reader, server.base, seconds=0.5)) == f"{FAILURE_MESSAGES['5xx']} (503)"
        assert time.monotonic() - start < 0.4
    assert len(server.seen) == 1


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def linked(base: str, *names: str, last: str | None = None) -> dict[str, servers.Answer]:
    """Pages by target: each links to the next by its full address, the last one to `last`."""
    links = [f"{base}?page={name}" for name in names[1:]] + [last]
    return {f"page={name}": reply(bundle(name, link)) for name, link in zip(names, links, strict=True)}


class Paging:
    """An answer whose pages are set once the server's own address is known."""

    def __init__(self) -> None:
        self.pages: dict[str, servers.Answer] = {}

    def __call__(self, request, sock):
        by_target(self.pages)(request, sock)


@pytest.fixture
def paging():
    answer = Paging()
    with serving(answer) as server:
        yield answer, server


def test_three_pages_are_read_in_order_with_the_token(reader, paging):
    answer, server = paging
    answer.pages = linked(server.base, "a", "b", "c")
    result = read(reader, server.base, "Observation?page=a")
    assert [msgspec.json.decode(body)["entry"][0]["resource"]["id"] for body in result.bodies] == ["a", "b", "c"]
    assert result.failure is None
    assert all(request.headers["authorization"] == f"Bearer {TOKEN}" for request in server.seen)


@pytest.mark.parametrize("link", ["Observation?page=b", "?page=b", "/fhir/Observation?page=b", "./Observation?page=b"])
def test_a_next_link_may_be_relative(reader, paging, link):
    answer, server = paging
    answer.pages = {"page=a": reply(bundle("a", link)), "page=b": reply(bundle("b"))}
    assert read(reader, server.base, "Observation?page=a").complete
    assert server.seen[1].target == "/fhir/Observation?page=b"


def test_a_posted_search_is_paged_by_get(paging):
    answer, server = paging
    reader = FhirReader(limits=Limits(max_url=10))
    answer.pages = {"_search": reply(bundle("a", f"{server.base}?page=b")), **linked(server.base, "b", "c")}
    assert len(read(reader, server.base, "Observation?page=a").bodies) == 3
    assert [request.method for request in server.seen] == ["POST", "GET", "GET"]
    reader.close()


INCOMPLETE = {
    "a circle": (lambda base: {"page=a": f"{base}?page=b", "page=b": f"{base}/Observation?page=a"}, 2, "next-loop"),
    "a page that is its own next": (lambda base: {"page=a": f"{base}/Observation?page=a"}, 1, "next-loop"),
    "pages without end": (
        lambda base: {f"page={n}x": f"{base}?page={n + 1}x" for n in range(50)},
        10,
        "too-many-pages",
    ),
    "another host": (lambda _: {"page=a": "http://evil.invalid/fhir?page=b"}, 1, "next-elsewhere"),
    "another port": (lambda _: {"page=a": "http://127.0.0.1:9/fhir?page=b"}, 1, "next-elsewhere"),
    "another scheme": (lambda base: {"page=a": base.replace("http", "https") + "?page=b"}, 1, "next-elsewhere"),
    "a user before the host": (lambda base: {"page=a": base.replace("//", "//me@") + "?page=b"}, 1, "next-elsewhere"),
    "the host as a user": (lambda base: {"page=a": base.replace("/fhir", "@evil.invalid/fhir")}, 1, "next-elsewhere"),
    "a backslash": (lambda base: {"page=a": base.replace("/fhir", "\\@evil.invalid/fhir")}, 1, "next-elsewhere"),
    "a network path": (lambda _: {"page=a": "//evil.invalid/fhir"}, 1, "next-elsewhere"),
    "a file": (lambda _: {"page=a": "file:///etc/passwd"}, 1, "next-elsewhere"),
    "an impossible address": (lambda _: {"page=a": "http://[::1"}, 1, "next-elsewhere"),
    "an impossible port": (lambda _: {"page=a": "http://127.0.0.1:99999/"}, 1, "next-elsewhere"),
    "outside what is allowed": (lambda base: {"page=a": base.replace("/fhir", "/admin")}, 1, "next-elsewhere"),
    "a page that is gone": (lambda base: {"page=a": f"{base}?page=gone"}, 1, "404"),
}


@pytest.mark.parametrize(("pages", "read_pages", "kind"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_paging_that_stops_early_keeps_what_it_has_and_says_why(reader, paging, pages, read_pages, kind):
    answer, server = paging
    answer.pages = {target: reply(bundle(target, link)) for target, link in pages(server.base).items()}
    first = next(iter(answer.pages))
    result = read(reader, server.base, f"Observation?{first}", allowed=lambda url: url.startswith(server.base))
    assert (len(result.bodies), result.failure) == (read_pages, ReadFailure(FailureKind(kind)))
    assert len(server.seen) == read_pages + (kind == "404")


def test_a_next_link_to_another_server_is_not_followed_even_if_that_one_is_allowed(reader):
    with serving(reply()) as other, serving(reply(bundle("a", f"{other.base}?page=b"))) as server:
        result = read(reader, server.base, "Observation?page=a", allowed=anywhere)
        assert (len(result.bodies), result.failure) == (1, ReadFailure(FailureKind("next-elsewhere")))
    assert other.connections == 0


class SlowHandshakes(ssl.SSLContext):
    """A server that takes its time before it greets."""

    def wrap_socket(self, *args, **kwargs):
        time.sleep(0.6)
        return super().wrap_socket(*args, **kwargs)


def test_a_page_that_hangs_behind_a_slow_connection_leaves_the_pages_before_it(certificate):
    tls = SlowHandshakes(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    pages = {}
    reader = FhirReader(ca_file=str(certificate))
    with serving(lambda request, sock: by_target(pages)(request, sock), tls) as server:
        first = bundle("a", f"{server.base}?page=b")
        pages |= {"page=a": then_close(reply(first, connection="close")), "page=b": servers.silence}
        expected = Pages((first,), ReadFailure(FailureKind("timeout")))
        tries = (read(reader, server.base, "Observation?page=a", seconds=2.5) for _ in range(3))
        assert any(found == expected for found in tries)  # one may be late, on a machine with other work
    reader.close()


def test_a_page_that_hangs_leaves_the_pages_before_it(reader, paging):
    answer, server = paging
    answer.pages = {"page=a": reply(bundle("a", f"{server.base}?page=b")), "page=b": servers.silence}
    result = read(reader, server.base, "Observation?page=a", seconds=0.5)
    assert result == Pages((bundle("a", f"{server.base}?page=b"),), ReadFailure(FailureKind("timeout")))


def test_the_size_limit_counts_all_pages_of_a_query(paging):
    answer, server = paging
    answer.pages = linked(server.base, "a", "b", "c")
    reader = FhirReader(limits=Limits(max_bytes=2 * len(bundle("a", f"{server.base}?page=b"))))
    result = read(reader, server.base, "Observation?page=a")
    assert (len(result.bodies), result.failure) == (2, ReadFailure(FailureKind("too-large")))
    reader.close()


# ── where it may go ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_name_is_the_same_server_however_it_is_written():
    assert _origin("https://FHIR.example.:443/r4") == _origin("https://fhir.example/other")
    assert _origin("https://fhir.example./r4") != _origin("https://other.example./r4")


def test_an_address_that_is_not_allowed_is_never_asked(reader):
    asked = []

    def nowhere(url):
        return bool(asked.append(url))

    with serving(reply()) as server:
        assert words(read(reader, server.base, "Patient/1", allowed=nowhere)) == FAILURE_MESSAGES["not-allowed"]
    assert server.connections == 0
    assert asked[0] == f"{server.base}/Patient/1"


def test_one_query_that_is_not_allowed_does_not_stop_the_others(reader):
    with serving(reply()) as server:
        queries = {"inside": "Patient/1", "outside": "../admin", "no address": "\x00"}

        def inside(url):
            return url.startswith(f"{server.base}/Patient/")

        results = reader.read(server.base, TOKEN, queries, time.monotonic() + 3, inside)
    assert isinstance(results["inside"], Pages)
    assert words(results["outside"]) == FAILURE_MESSAGES["not-allowed"]
    assert [request.target for request in server.seen] == ["/fhir/Patient/1"]


def test_an_address_behind_the_name_that_is_not_permitted_gets_no_byte():
    reader = FhirReader(address_filter=lambda address: address != "127.0.0.1")
    with serving(reply()) as server:
        assert words(read(reader, server.base)) == FAILURE_MESSAGES["not-allowed"]
    assert server.seen == []
    reader.close()


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> Path:
    """A self-signed certificate for 127.0.0.1 with its key, as one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    path.write_bytes(private + signed.public_bytes(pem))
    return path


@pytest.fixture
def secure_server(certificate):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with serving(reply(), tls=context) as server:
        yield server


def test_a_certificate_nobody_vouches_for_is_refused(reader, secure_server):
    assert words(read(reader, secure_server.base)) == FAILURE_MESSAGES["tls"]
    assert secure_server.seen == []


def test_a_hospital_may_vouch_for_its_own_server(secure_server, certificate):
    reader = FhirReader(ca_file=str(certificate))
    assert read(reader, secure_server.base) == Pages((servers.EMPTY,))
    reader.close()


def test_secure_connections_are_used_again_but_not_after_a_long_rest(secure_server, certificate, monkeypatch):
    reader = FhirReader(ca_file=str(certificate))
    for seconds, connections in ((30.0, 1), (30.0, 1), (0.0, 2)):
        monkeypatch.setattr(net_connections, "MAX_IDLE_SECONDS", seconds)
        assert isinstance(read(reader, secure_server.base), Pages)
        assert secure_server.connections == connections
    reader.close()


def test_a_certificate_for_another_name_is_refused(secure_server, certificate):
    reader = FhirReader(ca_file=str(certificate))
    assert words(read(reader, secure_server.base.replace("127.0.0.1", "localhost"))) == FAILURE_MESSAGES["tls"]
    reader.close()


def test_plain_http_where_tls_was_expected_is_a_tls_problem(reader):
    with serving(reply()) as server:
        assert words(read(reader, server.base.replace("http:", "https:"))) == FAILURE_MESSAGES["tls"]


def test_a_silent_tls_server_costs_the_connect_timeout_only(reader):
    with servers.deaf() as base:
        start = time.monotonic()
        assert words(read(reader, base.replace("http:", "https:"), seconds=5)) == FAILURE_MESSAGES["connect-timeout"]
        assert time.monotonic() - start < 2


# ── what must not be said ────────────────────────────────────────────────────────────────────────────────────────────

CANARY_CASES = {
    "success": reply(),
    "pages": reply(bundle(PATIENT, f"?patient={PATIENT}&token={TOKEN}")),
    "refused": reply(f'{{"text":"{PATIENT} {TOKEN}"}}'.encode(), 401),
    "server error": reply(PATIENT.encode(), 500),
    "redirect": reply(b"", 302, location=f"/{PATIENT}/{TOKEN}"),
    "defective headers": raw(OK + f"{PATIENT}\r\n {TOKEN}\r\n: x\r\ncontent-length: 2\r\n\r\n{{}}".encode()),
    "length and chunks": raw(OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    "garbage": then_close(raw(f"{TOKEN} {PATIENT}\r\n\r\n".encode())),
    "reset": then_reset(raw(b"")),
    "not JSON": reply(f"<p>{PATIENT}</p>".encode()),
    "timeout": servers.silence,
}


@pytest.mark.parametrize("answer", CANARY_CASES.values(), ids=CANARY_CASES)
def test_neither_token_nor_patient_is_in_any_error_or_log_record(reader, caplog, answer):
    for name in ("", "urllib3", "urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry", "requests"):
        caplog.set_level(logging.DEBUG, logger=name)
    with serving(answer) as server:
        for query in (f"Patient/{PATIENT}", QUERY, QUERY + "," * 3000):
            result = read(reader, server.base, query, seconds=0.25)
            said = repr(result if isinstance(result, ReadFailure) else result.failure)
            assert PATIENT not in said
            assert TOKEN not in said
    logged = "\n".join(f"{record.getMessage()} {record.exc_text} {vars(record)}" for record in caplog.records)
    assert PATIENT not in logged
    assert TOKEN not in logged


def test_the_reader_keeps_no_token(reader):
    import gc

    with serving(reply()) as server:
        read(reader, server.base, token="kept-" + "nowhere")
    gc.collect()
    held = [
        thing
        for thing in gc.get_objects()
        if isinstance(thing, dict) and any(v == "Bearer kept-nowhere" for v in thing.values() if isinstance(v, str))
    ]
    assert held == []


def test_no_wording_can_carry_data():
    assert all("{" not in sentence and "%" not in sentence for sentence in FAILURE_MESSAGES.values())
