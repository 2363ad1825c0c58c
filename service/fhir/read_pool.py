"""What the readers of one process share: how many calls they may read for, and the threads in which these are read."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import TypeVar

from service.net.bulkhead import Bulkhead

T = TypeVar("T")

CALLS_TOGETHER = 16
"""From all servers, and half as many from one: a crowd while it is slow. A few calls are then answered in full, instead
of all of them in part. A pod has 512 MB, of which each call may fill 8 MB with answers and 17 threads with work."""


class ReadPool:
    """Room for `together` calls, and a thread for each of their `reads` queries; threads are started as needed."""

    def __init__(self, reads: int = 16, together: int = CALLS_TOGETHER) -> None:
        self.bulkhead = Bulkhead(together)
        self.size = reads * together
        self._threads = self._new_threads()
        self._closed = False
        self._lock = Lock()

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """`work` in a thread. Raises RuntimeError where the system, or `close`, allows no more threads."""
        while True:  # again only if another call has just retired the threads that were asked
            threads = self._threads
            try:
                return threads.submit(work)
            except RuntimeError:
                if self._retire(threads):
                    raise

    def close(self) -> None:
        """Let go of the threads, for good; what they do they finish."""
        with self._lock:
            self._closed = True
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _retire(self, threads: ThreadPoolExecutor) -> bool:
        """Replace an executor that refused; False if another call has done so.

        One that once failed to start a thread miscounts its idle ones for ever. Its threads finish what they have.
        """
        with self._lock:
            if self._closed:
                return True
            if self._threads is not threads:
                return False
            self._threads = self._new_threads()
        threads.shutdown(wait=False)
        return True

    def _new_threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.size, thread_name_prefix="fhir-read")
