"""The public keys of the issuers: fetched, kept, renewed on rotation, and still there when their host is down."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import structlog
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from service.net.jwks import MAX_BYTES, Keys, PublicKey, read_keys

Source = str | Path
"""A `jku` of the site file, or the path of a JWK Set file."""
Fetch = Callable[[Source], bytes]

FRESH_S = 600.0  # how long keys are used without asking for newer ones
_PASSING = {408, 429}  # besides 5xx and silence: what says nothing of the keys
STALE_S = 24 * 3600.0  # how long they are used while their host is down (outages of 12 h have been reported)
RETRY_S = 30.0  # old keys are renewed no more often, while their host is down
UNKNOWN_S = 1.0  # a key that is not known is asked for no more often: a stranger's tokens delay no rotation by more
AGAIN_S = 2.0  # nor is a host that failed, when a caller is waiting for a key
CONNECT_S, FETCH_S = 1.0, 3.0  # one fetch: until it is connected, and all of it
GIVEN_UP_S = 4.0  # a fetch that has not ended by then (resolving a name knows no deadline) no longer bars the next
PATIENCE_S = 1.5  # how long a caller waits for a key that is not known
MOST_WAITING = 32  # of them at one time, so that forged tokens cannot take the threads of good callers

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Held:
    keys: Keys = field(default_factory=dict)
    read_at: float = float("-inf")  # when they were asked for, so that a late answer replaces no newer one
    asked_at: float = float("-inf")
    fetching: bool = False


class KeyCache:
    """Finds keys by source and `kid`. Safe for threads; one fetch per source at a time, but for those given up.

    `fetch` returns the document or raises OSError or ValueError; `clock` counts seconds.
    """

    def __init__(self, fetch: Fetch, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._changed = threading.Condition()
        self._held: defaultdict[Source, _Held] = defaultdict(_Held)
        self._waiting = 0

    def find(self, sources: Sequence[Source], kid: str, tried: Sequence[PublicKey] = ()) -> tuple[PublicKey, ...]:
        """The keys named `kid` of the first source that has any besides `tried`; none after PATIENCE_S at the latest.

        Keys that are known are returned at once, and renewed for the next caller if they are old. Otherwise the sources
        are asked: again UNKNOWN_S after they answered or AGAIN_S after they failed, however many callers there are.
        """
        with self._changed:
            found = self._known(sources, kid, tried)
            if not found:
                return self._wait_for(sources, kid, tried)
            for source in sources:
                self._renew_old(source, kid)
            return found

    def _known(self, sources: Sequence[Source], kid: str, tried: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
        for source in sources:
            held = self._held[source]
            keys = held.keys.get(kid, ()) if self._clock() - held.read_at < STALE_S else ()
            if found := tuple(key for key in keys if key not in tried):
                return found
        return ()

    def _renew_old(self, source: Source, kid: str) -> None:
        held = self._held[source]
        if kid in held.keys and self._clock() - held.read_at >= FRESH_S:
            self._ask(source, held, RETRY_S)

    def _wait_for(self, sources: Sequence[Source], kid: str, tried: Sequence[PublicKey]) -> tuple[PublicKey, ...]:
        """All sources are asked at once, so that one that hangs does not use up the patience for the others."""
        ends = time.monotonic() + PATIENCE_S
        asked = [self._held[source] for source in sources]
        for source, held in zip(sources, asked, strict=True):
            failed = held.read_at < held.asked_at
            self._ask(source, held, AGAIN_S if failed else UNKNOWN_S)
        while not self._known(sources, kid, tried) and any(held.fetching for held in asked) and self._wait(ends):
            pass
        return self._known(sources, kid, tried)

    def _wait(self, ends: float) -> bool:
        """Let others go on until something changes; False if there is no time or no room to wait."""
        left = ends - time.monotonic()
        if left <= 0 or self._waiting >= MOST_WAITING:
            return False
        self._waiting += 1
        try:
            return self._changed.wait(left)
        finally:
            self._waiting -= 1

    def _ask(self, source: Source, held: _Held, pause: float) -> None:
        """Start a fetch unless one is under way or the last one began less than `pause` ago."""
        now = self._clock()
        if now - held.asked_at < (GIVEN_UP_S if held.fetching else pause):
            return
        held.asked_at, held.fetching = now, True
        try:
            threading.Thread(target=self._renew, args=(source, held, now), name="keys", daemon=True).start()
        except RuntimeError as error:  # no more threads
            held.fetching = False
            log.warning("keys_unavailable", source=str(source), error=type(error).__name__)

    def _renew(self, source: Source, held: _Held, asked_at: float) -> None:
        keys: Keys | None = None  # none that could be read; an empty set withdraws those that are held
        try:
            keys = self._read(source)
        except (OSError, ValueError, HTTPError) as error:
            log.warning("keys_unavailable", source=str(source), error=type(error).__name__)
        finally:
            with self._changed:
                if keys is not None and asked_at > held.read_at:
                    held.keys, held.read_at = keys, asked_at
                if asked_at == held.asked_at:
                    held.fetching = False
                self._changed.notify_all()

    def _read(self, source: Source) -> Keys:
        try:
            keys = read_keys(self._fetch(source))
        except (Withdrawn, FileNotFoundError):
            keys = {}
        if not keys:
            log.warning("keys_withdrawn", source=str(source))
        return keys


class Withdrawn(OSError):
    """The host answers that there are no keys here."""


def fetcher(out: requests.Session) -> Fetch:
    """Reads a source: a file, or a URL through `out` with a limit on time and size, and without redirects."""

    def fetch(source: Source) -> bytes:
        return source.read_bytes() if isinstance(source, Path) else _download(out, source)

    return fetch


def _download(out: requests.Session, url: str) -> bytes:
    """The body; every byte of the answer has to come within FETCH_S, since DeadlineResponse adds up the pauses."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    timeout: Any = Timeout(connect=CONNECT_S, total=FETCH_S)  # requests takes it, its type hints do not know
    with out.get(url, timeout=timeout, allow_redirects=False, stream=True, headers=headers) as answer:
        if answer.status_code != 200:
            passing = answer.status_code >= 500 or answer.status_code in _PASSING
            raise (OSError if passing else Withdrawn)(f"status {answer.status_code}")
        body = b""
        while part := answer.raw.read1(16384, decode_content=True):  # some hosts compress although asked not to
            body += part
            if len(body) > MAX_BYTES:
                raise OSError("too large")
        return body
