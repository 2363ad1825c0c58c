"""Until when the present thread waits for the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

_patience = threading.local()


@contextmanager
def statement_deadline(moment: float) -> Iterator[None]:
    """In this thread and block PostgreSQL is waited for until `moment` (of `time.monotonic`) and no longer."""
    _patience.ends = moment
    try:
        yield
    finally:
        del _patience.ends


def time_left() -> float | None:
    """Seconds, 0 when the deadline is over; None if there is no deadline."""
    ends: float | None = getattr(_patience, "ends", None)
    return None if ends is None else max(0.0, ends - monotonic())
