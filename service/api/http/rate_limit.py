"""How often a caller may call: a bucket of calls for each, which fills evenly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import ceil

from service.errors import TooManyRequests


class RateLimit:
    """`per_minute` calls for each caller in this process: all at once if need be, then as fast as they come back.

    Holds two numbers for each caller; names are those of the site file, so they are few. Safe for threads.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        self._lock = threading.Lock()
        self._left: dict[str, tuple[float, float]] = {}  # calls left, and when that was

    def take(self, caller: str) -> None:
        """Count one call of this caller. Raises TooManyRequests with the seconds until there is one again."""
        with self._lock:
            now = self._clock()
            left, then = self._left.get(caller, (self._most, now))
            left = min(self._most, left + (now - then) * self._per_second)
            self._left[caller] = (left - 1 if left >= 1 else left, now)
        if left < 1:
            raise TooManyRequests("the limit of calls per minute is reached", ceil((1 - left) / self._per_second))
