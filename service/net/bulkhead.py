"""A bulkhead: so many permits, of which no key may take all; who gets none at once waits until a deadline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from threading import Event, Lock
from time import monotonic


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    key: Hashable
    called: Event = field(default_factory=Event)


class Bulkhead:
    """At most `together` permits at one time; a key gets another only while it holds fewer than are free.

    One key alone gets half of them, and the next ones half of what is left: of 16 permits, keys that give none back get
    8, 4, 2, 1 and 1. So a server that hangs leaves some to the others.

    Of those who wait the newest is served first: it has the most time left to use its permit. First come, first served
    would, under lasting overload, serve each when it is too late for it.
    """

    def __init__(self, together: int) -> None:
        self._together = together
        self._taken: Counter[Hashable] = Counter()
        self._waiting: list[_Waiting] = []
        self._lock = Lock()

    def acquire(self, key: Hashable, deadline: float) -> bool:
        """True with a permit, until `release(key)`; False if none was free by `deadline` (`time.monotonic()`)."""
        with self._lock:
            if self._is_free(key):
                self._taken[key] += 1
                return True
            mine = _Waiting(key)
            self._waiting.append(mine)
        mine.called.wait(max(0.0, deadline - monotonic()))
        with self._lock:
            if not mine.called.is_set():
                self._waiting.remove(mine)
                return False
        return True

    def release(self, key: Hashable) -> None:
        """Give a permit back; two may be given in its place, one under this key and one under another."""
        with self._lock:
            self._taken[key] -= 1
            self._taken += Counter()  # keys without permits are dropped
            while following := next((one for one in reversed(self._waiting) if self._is_free(one.key)), None):
                self._waiting.remove(following)
                self._taken[following.key] += 1
                following.called.set()

    def _is_free(self, key: Hashable) -> bool:
        return self._taken[key] < self._together - self._taken.total()
