"""The public keys of the issuers: fetched, kept, renewed on rotation, and still there when their host is down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import requests
import structlog
from urllib3.exceptions import HTTPError

from service.net.jwks import MAX_BYTES, Keys, PublicKey, read_keys

Source = str | Path
"""A `jku` of the site file, or the path of a JWK Set file."""
Fetch = Callable[[Source], bytes]

FRESH_S = 600.0  # how long keys are used without asking for newer ones
STALE_S = 24 * 3600.0  # how long they are used while their host is down (outages of 12 h have been reported)
RETRY_S = 30.0  # no source is asked more often, whatever the tokens say and whatever it answered
FETCH_S = 2.0  # one fetch, all of it
GIVEN_UP_S = 600.0  # a fetch that has not ended by then (a host that drips its headers) no longer bars the next
PATIENCE_S = 0.25  # how long a call that already has a key waits for a newer set

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Held:
    keys: Keys = field(default_factory=dict)
    read_at: float = float("-inf")
    asked_at: float = float("-inf")
    answered: threading.Event | None = None


class KeyCache:
    """Finds keys by source and `kid`. Safe for threads; at most one fetch per source is under way.

    `fetch` returns the document or raises OSError or ValueError; `clock` counts seconds.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._held: dict[Source, _Held] = {}

    def find(self, source: Source, kid: str) -> tuple[PublicKey, ...]:
        """The keys named `kid` (none, or one unless the set repeats a kid), in at most FETCH_S seconds.

        An unknown `kid` asks the source again, at most every RETRY_S; a known one is served while the source is down.
        """
        with self._lock:
            held = self._held.setdefault(source, _Held())
            known = self._usable(held, kid)
            if known and self._clock() - held.read_at < FRESH_S:
                return known
            answered = self._ask(source, held)
        answered.wait(PATIENCE_S if known else FETCH_S)
        with self._lock:
            return self._usable(held, kid)

    def _usable(self, held: _Held, kid: str) -> tuple[PublicKey, ...]:
        return held.keys.get(kid, ()) if self._clock() - held.read_at < STALE_S else ()

    def _ask(self, source: Source, held: _Held) -> threading.Event:
        """The event that ends the fetch under way or the last one; starts one if the last is long enough ago."""
        under_way = held.answered is not None and not held.answered.is_set()
        if held.answered is None or self._clock() - held.asked_at >= (GIVEN_UP_S if under_way else RETRY_S):
            held.asked_at = self._clock()
            held.answered = threading.Event()
            threading.Thread(target=self._renew, args=(source, held, held.answered), daemon=True).start()
        return held.answered

    def _renew(self, source: Source, held: _Held, answered: threading.Event) -> None:
        try:
            keys = read_keys(self._fetch(source))
        except (OSError, ValueError, HTTPError) as error:
            log.warning("keys_unavailable", source=str(source), error=type(error).__name__)
        else:
            with self._lock:
                held.keys, held.read_at = keys, self._clock()
        finally:
            answered.set()


def fetcher(out: requests.Session) -> Fetch:
    """Reads a source: a file, or a URL through `out` with a limit on time and size, and without redirects."""

    def fetch(source: Source) -> bytes:
        return source.read_bytes() if isinstance(source, Path) else _download(out, source)

    return fetch


def _download(out: requests.Session, url: str) -> bytes:
    deadline = time.monotonic() + FETCH_S
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    with out.get(url, timeout=FETCH_S / 2, allow_redirects=False, stream=True, headers=headers) as answer:
        if answer.status_code != 200:
            raise OSError(f"status {answer.status_code}")
        body = b""
        while part := answer.raw.read1(16384):  # returns what has come: a host that drips cannot outlast the deadline
            body += part
            if len(body) > MAX_BYTES or time.monotonic() > deadline:
                raise OSError("too large or too slow")
        return body
