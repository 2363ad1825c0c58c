"""Turns: so many at once under one key, so many altogether; the others wait, each until its own deadline."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Lock
from time import monotonic


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    key: Hashable
    called: Event = field(default_factory=Event)


class Turns:
    """At most `each` turns at one time under one key, and `together` under all keys.

    Of those who wait the newest is called first: it has the most time left to make use of its turn. In the order of
    their coming, under lasting overload all would be called when it is too late for them.
    """

    def __init__(self, each: int, together: int) -> None:
        self._each = each
        self._together = together
        self._taken: Counter[Hashable] = Counter()
        self._waiting: list[_Waiting] = []
        self._lock = Lock()

    @contextmanager
    def turn(self, key: Hashable, deadline: float) -> Iterator[bool]:
        """A block that has a turn, if True; False if none came by `deadline`, a `time.monotonic()` value."""
        had = self._begin(key, deadline)
        try:
            yield had
        finally:
            if had:
                self._end(key)

    def _begin(self, key: Hashable, deadline: float) -> bool:
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

    def _end(self, key: Hashable) -> None:
        """Pass the turn on; one that ends makes room for one at most."""
        with self._lock:
            self._taken[key] -= 1
            self._taken += Counter()  # keys without turns are dropped
            following = next((one for one in reversed(self._waiting) if self._is_free(one.key)), None)
            if following:
                self._waiting.remove(following)
                self._taken[following.key] += 1
                following.called.set()

    def _is_free(self, key: Hashable) -> bool:
        return self._taken[key] < self._each and self._taken.total() < self._together
