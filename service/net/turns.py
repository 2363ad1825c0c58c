"""Turns: so many at once, and for each key no more than are left to the others; the rest wait until their deadline."""

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


class Turns:
    """At most `together` turns at one time, of which a key takes another only while it has fewer than are free.

    One key alone gets half of them, and the next ones half of what is left: of 16 turns, keys that give none back get
    8, 4, 2, 1 and 1. So whoever takes turns and keeps them leaves some to the others.

    Of those who wait the newest is called first: it has the most time left to make use of its turn. In the order of
    their coming, under lasting overload all would be called when it is too late for them.
    """

    def __init__(self, together: int) -> None:
        self._together = together
        self._taken: Counter[Hashable] = Counter()
        self._waiting: list[_Waiting] = []
        self._lock = Lock()

    def begin(self, key: Hashable, deadline: float) -> bool:
        """True with a turn, which lasts until `end(key)`; False if none came by `deadline`, a `time.monotonic()`."""
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

    def end(self, key: Hashable) -> None:
        """Pass the turn on; it may make room for two, one under this key and one under another."""
        with self._lock:
            self._taken[key] -= 1
            self._taken += Counter()  # keys without turns are dropped
            while following := next((one for one in reversed(self._waiting) if self._is_free(one.key)), None):
                self._waiting.remove(following)
                self._taken[following.key] += 1
                following.called.set()

    def _is_free(self, key: Hashable) -> bool:
        return self._taken[key] < self._together - self._taken.total()
