"""The queue of rows that need not be stored before the answer goes out, and the thread that stores them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from time import monotonic
from typing import Any

from sqlalchemy import Table

from service.errors import StoreUnavailable

Row = tuple[Table, dict[str, Any]]
BATCH = 200
GATHERING = 0.2  # s, in which rows come together: one transaction for many cards
IDLE = 60.0  # s between looks at the housekeeping when there is nothing to write
LONGEST_PAUSE = 5.0  # s between attempts while the store is down


class Writer:
    """A bounded queue and one thread: rows leave the queue only after `write` has stored them.

    `write` stores rows or raises StoreUnavailable; then the same rows are tried again after a growing pause.
    `maintain` is called before each attempt, for housekeeping; it too may raise StoreUnavailable.
    """

    def __init__(self, write: Callable[[Sequence[Row]], None], maintain: Callable[[], None], capacity: int) -> None:
        self._write, self._maintain, self._capacity = write, maintain, capacity
        self._rows: deque[Row] = deque()
        self._changed = Condition()
        self._ends: float | None = None
        self._thread = Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._rows)

    def put(self, rows: Sequence[Row]) -> int:
        """Queue the rows; the number that did not fit. Never waits for the database."""
        with self._changed:
            before = len(self._rows)
            fitting = rows[: self._capacity - before] if self._ends is None else ()
            self._rows.extend(fitting)
            if not before or before < BATCH <= len(self._rows):
                self._changed.notify()  # else it is awake already, or gathers: waking it costs each call a little
        return len(rows) - len(fitting)

    def close(self, timeout: float) -> int:
        """Store what is queued, for `timeout` seconds at most; the number of rows that were lost."""
        with self._changed:
            self._ends = monotonic() + timeout
            self._changed.notify()
        self._thread.join(timeout + 0.5)
        return len(self._rows)

    def _run(self) -> None:
        failures, going = 0, True
        while going:
            try:
                self._maintain()
                self._store_batch()
                failures = 0
            except StoreUnavailable:
                failures += 1
            going = self._wait(_pause(failures))

    def _wait(self, pause: float) -> bool:
        """Sleep until it is time for another attempt; False when there is nothing more to attempt."""
        with self._changed:
            if pause:
                self._changed.wait_for(lambda: self._ends is not None, pause)
            else:
                self._changed.wait_for(lambda: self._rows or self._ends is not None, IDLE)
                self._changed.wait_for(lambda: self._ends is not None or len(self._rows) >= BATCH, GATHERING)
            if self._ends is None:
                return True
            if pause:
                self._changed.wait(min(pause, 0.1))
            return bool(self._rows) and monotonic() < self._ends

    def _store_batch(self) -> None:
        with self._changed:
            batch = [self._rows[place] for place in range(min(BATCH, len(self._rows)))]
        if batch:
            self._write(batch)
        with self._changed:
            for _ in batch:
                self._rows.popleft()


def _pause(failures: int) -> float:
    """Seconds before the next attempt: 0.1, 0.2, 0.4 … 5."""
    return min(LONGEST_PAUSE, 0.05 * 2.0 ** min(failures, 10)) if failures else 0.0
