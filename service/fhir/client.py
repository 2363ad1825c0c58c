"""Reads from FHIR R4 servers: the queries of one call in parallel, one deadline, each failure worded for support staff.

What is trusted is the address the operator allowed, never what answers there: the answers of a call are bounded in
bytes, pages and total time, and `next` stays on the server that was asked. urllib3 alone sends them: redirects, cookies,
proxies and .netrc live in the layers above it, and these cost half of the processor time of a read.
"""

from __future__ import annotations

import codecs
import io
import logging
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import BaseHTTPResponse, PoolManager
from urllib3.exceptions import HTTPError, LocationParseError, NameResolutionError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError
from urllib3.util import Timeout, Url, parse_url

from service.fhir.decode import MAX_VALUES, count_values
from service.fhir.failure import FailureKind, ReadFailure, of_status
from service.fhir.paging import is_enough
from service.fhir.read_pool import ReadPool
from service.net.connections import AddressFilter, ForbiddenPeerError, new_connections, pools
from service.net.deadline import DeadlineResponse

CONNECT_SECONDS = 1.0
"""A server in the same hospital connects in milliseconds; one that needs longer will not make the deadline either."""
REPORTING_SECONDS = 0.03
"""A read stops this long before the deadline, so that the pages it already has still reach the caller."""
RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 1.0
CHUNK_BYTES = 65_536
_LOGGERS_NAMING_URLS = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")


@dataclass(frozen=True, slots=True)
class Pages:
    """What one query brought: the raw JSON of each page, or of a single resource; `failure` says why not all of it."""

    bodies: tuple[bytes, ...]
    failure: ReadFailure | None = None

    @property
    def complete(self) -> bool:
        """True if nothing is missing."""
        return self.failure is None


@dataclass(frozen=True, slots=True)
class Limits:
    """`max_bytes` is for all queries of a call together, `max_pages` for each; a GET past `max_url` becomes a POST."""

    max_bytes: int = 8_000_000
    max_pages: int = 10
    max_url: int = 2000


class FhirReader:
    """Safe to share between threads; holds connections, never a token or an answer.

    `ca_file` names a PEM file of certificate authorities to trust instead of the public ones: hospitals sign their own
    certificates. `address_filter` is asked about the IP address of every new connection, as a name may lead anywhere.
    The readers of a process share their `pool`. A call keeps its permit until the last of its reads is over, so that a
    server that hangs, or whose name cannot be looked up, holds half of the permits and threads at most; two hold three
    quarters, and what is left serves the others.
    """

    def __init__(
        self,
        limits: Limits = Limits(),
        *,
        ca_file: str | None = None,
        address_filter: AddressFilter = bool,  # any address
        pool: ReadPool | None = None,
    ) -> None:
        self._pool = pool or ReadPool()
        self._limits = limits
        self._http = _pool_manager(self._pool.size, ca_file, address_filter)
        for name in _LOGGERS_NAMING_URLS:
            logging.getLogger(name).addFilter(_drop)

    def read(
        self,
        base: str,
        token: str | None,
        queries: Mapping[str, str],
        deadline: float,
        allowed: Callable[[str], bool],
        trace: str = "",
    ) -> dict[str, Pages | ReadFailure]:
        """Every query of `queries` (key → relative URL such as `Patient/1`), answered or failed by `deadline`.

        `deadline` is a `time.monotonic()` value; `allowed` is asked about each URL before it is requested; `trace` is
        the `traceparent` header of every request. Where too many calls read already, this one waits for its turn.
        Never raises for what a server does: each key has its `Pages` or its `ReadFailure`.
        """
        urls = {key: f"{base.rstrip('/')}/{query}" for key, query in queries.items()}
        if not any(allowed(url.partition("?")[0]) for url in urls.values()):  # takes no turn
            return {key: ReadFailure(FailureKind.NOT_ALLOWED) for key in urls}
        server, budget = _origin(base), _Budget(self._limits.max_bytes)
        calls = {key: _Call(url, token, deadline, allowed, budget, trace) for key, url in urls.items()}
        if deadline <= time.monotonic() or not self._pool.bulkhead.acquire(server, deadline):
            return {key: ReadFailure(FailureKind.BUSY) for key in urls}
        reads = {key: self._start(call) for key, call in calls.items()}
        _after_the_last(reads.values(), partial(self._pool.bulkhead.release, server))
        wait(reads.values(), timeout=max(0.0, deadline - time.monotonic()))
        return {key: _outcome(read) for key, read in reads.items()}

    def close(self) -> None:
        """Close the connections and let go of the crew, which reads for nobody any more; running reads end in time."""
        self._pool.close()
        self._http.clear()

    def _start(self, call: _Call) -> Future[Pages | ReadFailure]:
        """A read in a thread, or one that has failed where the system or `close` allows no more threads."""
        try:
            return self._pool.submit(partial(self._read_one, call))
        except RuntimeError:
            failed: Future[Pages | ReadFailure] = Future()
            failed.set_result(ReadFailure(FailureKind.NO_THREAD))
            return failed

    def _read_one(self, call: _Call) -> Pages | ReadFailure:
        bodies: list[bytes] = []
        try:
            for body in self._pages(call):
                bodies.append(body)  # noqa: PERF402  what came before a failure is kept
        except ReadAborted as stopped:
            return Pages(tuple(bodies), stopped.failure) if bodies else stopped.failure
        return Pages(tuple(bodies))

    def _pages(self, call: _Call) -> Iterator[bytes]:
        url: str | None = call.url
        seen: set[str] = set()
        times: list[str | None] = []
        while url is not None:
            if len(seen) == self._limits.max_pages:
                raise ReadAborted(FailureKind.TOO_MANY_PAGES)
            seen.add(url)
            body = self._fetch(url, call)
            following = _next_link(body, call.budget)
            yield body
            if following and is_enough(call.url, times := [*times, *_times(body)]):
                return
            url = following and _joined(url, following)
            if url in seen:
                raise ReadAborted(FailureKind.NEXT_LOOP)

    def _fetch(self, url: str, call: _Call) -> bytes:
        """One answer, at the second try if that is worth one: of the connections that rest, more may be broken.

        A search that is posted only reads too, but a server that has enough of requests is not sent a long one twice.
        """
        request = self._prepare(url, call)
        try:
            return self._send(request, call)
        except ReadAborted as stopped:
            pause = stopped.retry_after
            wanted = request.method == "GET" or stopped.broken
            if not wanted or pause is None or call.remaining() <= pause:
                raise
        time.sleep(pause)
        with new_connections():
            return self._send(request, call)

    def _prepare(self, url: str, call: _Call) -> _Request:
        headers = {"Accept": "application/fhir+json", "Accept-Encoding": "gzip", "User-Agent": "magnesium-cds"}
        if call.token is not None:
            if not (call.token.isascii() and call.token.isprintable()):
                raise ReadAborted(FailureKind.BAD_REQUEST)
            headers["Authorization"] = f"Bearer {call.token}"
        if call.trace:
            headers["traceparent"] = call.trace
        first = url == call.url
        try:
            request = _Request("GET", parse_url(url), headers)
        except LocationParseError:
            raise ReadAborted(FailureKind.BAD_REQUEST if first else FailureKind.NEXT_ELSEWHERE) from None
        if first and len(request.url.url) > self._limits.max_url and request.url.query:
            request = _search_by_post(request)
        # Asked about the very URL that goes out, so that no two readers of URLs can disagree about it.
        if not (call.allowed(request.url.url) and (first or _origin(request.url.url) == _origin(call.url))):
            raise ReadAborted(FailureKind.NOT_ALLOWED if first else FailureKind.NEXT_ELSEWHERE)
        return request

    def _send(self, request: _Request, call: _Call) -> bytes:
        remaining = call.remaining()
        if remaining <= 0:
            raise ReadAborted(FailureKind.TIMEOUT)
        try:
            response = self._open(request, Timeout(connect=min(CONNECT_SECONDS, remaining), total=remaining))
            try:
                if response.status != HTTPStatus.OK:
                    raise _status(response)
                return _body(response, call.budget)
            finally:
                response.close()  # of a body that was read to its end the connection is back in the pool already
                response.release_conn()
        except (HTTPError, OSError, ValueError) as error:
            raise ReadAborted(_kind(error, late=call.remaining() <= 0)) from None

    def _open(self, request: _Request, timeout: Timeout) -> BaseHTTPResponse:
        """The answer, of which the head has been read; neither tried again nor led elsewhere."""
        url = request.url
        return self._http.connection_from_host(url.host, url.port, url.scheme).urlopen(
            request.method,
            url.request_uri,
            request.body,
            request.headers,
            retries=False,
            redirect=False,
            timeout=timeout,
            preload_content=False,
        )


@dataclass(frozen=True, slots=True)
class _Request:
    """What is sent; the URL is encoded as it goes out."""

    method: str
    url: Url
    headers: dict[str, str]
    body: str | None = None


class _Budget:
    """The bytes, and the JSON values, that the queries of one call may still hold, shared by their threads."""

    def __init__(self, most: int) -> None:
        self._left, self._values_left = most, MAX_VALUES
        self._lock = threading.Lock()

    def take(self, number: int, values: int) -> None:
        """For bytes that are kept; stops the read that wants more than there is, not the others."""
        with self._lock:
            if number > self._left or values > self._values_left:
                raise ReadAborted(FailureKind.TOO_LARGE)
            self._left -= number
            self._values_left -= values

    def give_back(self, number: int) -> None:
        """Of an answer that is not kept after all."""
        with self._lock:
            self._left += number


@dataclass(frozen=True, slots=True)
class _Call:
    """What one query needs on its way; lives as long as the read and is where the token is."""

    url: str
    token: str | None
    deadline: float
    allowed: Callable[[str], bool]
    budget: _Budget
    trace: str = ""

    def remaining(self) -> float:
        """Seconds in which the read has to be over."""
        return self.deadline - REPORTING_SECONDS - time.monotonic()


class ReadAborted(Exception):
    """Reading stops here; `retry_after` seconds later it may be worth another try, None if not."""

    def __init__(self, failure: ReadFailure | FailureKind, retry_after: float | None = None) -> None:
        self.failure = ReadFailure(failure) if isinstance(failure, FailureKind) else failure
        super().__init__(self.failure.kind)
        self.broken = self.failure.kind is FailureKind.BROKEN
        self.retry_after = 0.0 if self.broken else retry_after


def _after_the_last(reads: Collection[Future[Any]], then: Callable[[], None]) -> None:
    """`then`, in whichever thread is the last to be over; also where nobody waits for it any more."""
    others = iter(range(len(reads) - 1))  # each takes one, which is a single step to all threads

    def over(_read: Future[Any]) -> None:
        if next(others, None) is None:
            then()

    for read in reads:
        read.add_done_callback(over)


def _outcome(read: Future[Pages | ReadFailure]) -> Pages | ReadFailure:
    if not read.cancel() and read.done():
        return read.result()
    return ReadFailure(FailureKind.TIMEOUT)


def _search_by_post(request: _Request) -> _Request:
    """`POST {type}/_search` for `GET {type}?{query}`, with the same encoded query (FHIR R4, RESTful API)."""
    url, headers = request.url, request.headers | {"Content-Type": "application/x-www-form-urlencoded"}
    return _Request("POST", url._replace(path=f"{url.path}/_search", query=None), headers, url.query)


# ── what came back ───────────────────────────────────────────────────────────────────────────────────────────────────


def _body(response: BaseHTTPResponse, budget: _Budget) -> bytes:
    body = io.BytesIO()  # whose value is its buffer, not a copy
    try:
        for chunk in response.stream(CHUNK_BYTES, decode_content=True):
            budget.take(len(chunk), count_values(chunk))
            body.write(chunk)
    except BaseException:
        budget.give_back(body.tell())
        raise
    return body.getvalue().removeprefix(codecs.BOM_UTF8)


def _status(response: BaseHTTPResponse) -> ReadAborted:
    return ReadAborted(of_status(response.status), _retry_after(response.status, response.headers.get("Retry-After")))


def _retry_after(status: int, header: str | None) -> float | None:
    """Seconds after which the same GET may succeed; None where it would not, or not soon enough to matter."""
    if header is None:
        return RETRY_SECONDS if status in {502, 503, 504} else None
    if status not in {429, 502, 503, 504} or not (header.isascii() and header.isdigit()):
        return None
    return float(header) if len(header) < 3 and int(header) <= MAX_RETRY_SECONDS else None


class _Linked(msgspec.Struct):
    """As much of an answer as paging needs; whatever the values are, reading them does not fail."""

    resourceType: Any = None  # noqa: N815  FHIR's spelling
    link: Any = None


_read_links = msgspec.json.Decoder(_Linked).decode


def _next_link(body: bytes, budget: _Budget) -> str | None:
    """The `next` link of a Bundle, or None; an answer that is not a JSON object stops the read."""
    try:
        answer = _read_links(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        budget.give_back(len(body))
        raise ReadAborted(FailureKind.NOT_JSON) from None
    links = answer.link if answer.resourceType == "Bundle" and isinstance(answer.link, list) else []
    following = (link.get("url") for link in links if isinstance(link, dict) and link.get("relation") == "next")
    return next((url for url in following if isinstance(url, str) and url), None)


class _DatedResource(msgspec.Struct):
    effectiveDateTime: str | None = None  # noqa: N815  FHIR's spelling


class _DatedEntry(msgspec.Struct):
    resource: _DatedResource


class _Dated(msgspec.Struct):
    entry: list[_DatedEntry]


def _times(body: bytes) -> list[str | None]:
    """The effective times of a page of results; one of None if they cannot be told."""
    try:
        return [entry.resource.effectiveDateTime for entry in msgspec.json.decode(body, type=_Dated).entry]
    except msgspec.MsgspecError:
        return [None]


def _joined(page: str, link: str) -> str:
    try:
        return urljoin(page, link)
    except ValueError:
        raise ReadAborted(FailureKind.NEXT_ELSEWHERE) from None


_Origin = tuple[str, str, int | None, str | None]


def _origin(url: str) -> _Origin | None:
    """Scheme, host, port and user of a URL: the server it is on, in one spelling; None if it is no URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return None
    return parts.scheme, (parts.hostname or "").removesuffix("."), port, parts.username


# ── the connection ───────────────────────────────────────────────────────────────────────────────────────────────────


def _drop(_record: logging.LogRecord) -> bool:
    """A log filter: these records carry URLs, and URLs carry patient ids."""
    return False


_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], FailureKind], ...] = (
    ((LocationParseError, UnicodeError), FailureKind.BAD_REQUEST),
    (NameResolutionError, FailureKind.NAME_NOT_RESOLVED),
    (ForbiddenPeerError, FailureKind.NOT_ALLOWED),
    (NewConnectionError, FailureKind.CONNECTION_REFUSED),
    (Urllib3TimeoutError, FailureKind.CONNECT_TIMEOUT),  # a late answer is not among them: that was ruled out before
    ((SSLError, ssl.SSLError), FailureKind.TLS),
)


def _kind(error: BaseException, *, late: bool) -> FailureKind:
    """What the HTTP libraries raised, by the innermost cause they know."""
    if late:
        return FailureKind.TIMEOUT
    causes = tuple(_causes(error))
    found = (kind for types, kind in _KINDS if any(isinstance(cause, types) for cause in causes))
    return next(found, FailureKind.BROKEN)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _pool_manager(connections: int, ca_file: str | None, address_filter: AddressFilter) -> PoolManager:
    """Connections with one TLS context for all, each of which times whole answers."""
    tls = ssl.create_default_context(cafile=ca_file or DEFAULT_CA_BUNDLE_PATH)
    manager = PoolManager(maxsize=connections, ssl_context=tls)
    manager.pool_classes_by_scheme = pools(address_filter, DeadlineResponse)
    return manager
