"""The JWT ids that this process has seen: asked first about a replay, and alone while the store is down."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from datetime import datetime
from threading import Lock

Key = tuple[str, str]  # issuer, digest


def digest(jti: str) -> str:
    """SHA-256 of a JWT id, whatever characters it has, in hexadecimal."""
    return hashlib.sha256(jti.encode("utf-8", "surrogatepass")).hexdigest()


class SeenTokens:
    """JWT ids with their expiry; the oldest go when there are more than `capacity`."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = Lock()
        self._expires: OrderedDict[Key, datetime] = OrderedDict()

    def add(self, key: Key, expires: datetime, now: datetime) -> bool:
        """True if the id was not known or had expired; of several threads with one id exactly one gets True."""
        with self._lock:
            known = self._expires.get(key)
            if known is not None and known > now:
                return False
            self._expires[key] = expires
            self._expires.move_to_end(key)
            if len(self._expires) > self._capacity:
                self._expires.popitem(last=False)
            return True

    def discard(self, key: Key) -> None:
        """The id was not used after all."""
        with self._lock:
            self._expires.pop(key, None)
