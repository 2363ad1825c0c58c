"""Questions of calls that arrive together share one transaction, so that they also share its commit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from time import monotonic
from typing import Generic, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from service.errors import StoreUnavailable
from service.store.database import HeldConnection, unavailable
from service.store.deadline import statement_deadline

Q = TypeVar("Q")
A = TypeVar("A")
MOST = 500  # questions of one transaction
CLOSING = 0.1  # s


class SharedTransaction(Generic[Q, A]):
    """While one transaction is under way those who come gather, and the next one answers all of them.

    `work` answers the questions, in order, by one statement; what it raises all of them get. One thread works, and a
    question that comes while it is idle is answered at once.
    """

    def __init__(self, name: str, held: HeldConnection, work: Callable[[Connection, list[Q]], list[A]]) -> None:
        self._held, self._work = held, work
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._lock = Lock()
        self._waiting: list[tuple[Q, float, Future[A]]] = []

    def ask(self, question: Q, deadline: float) -> A:
        """The answer, or StoreUnavailable after `deadline` seconds or if the database failed."""
        future: Future[A] = Future()
        with self._lock:
            self._waiting.append((question, monotonic() + deadline, future))
            first = len(self._waiting) == 1
        try:
            if first:
                self._pool.submit(self._answer)
            return future.result(deadline)
        except TimeoutError as late:
            future.cancel()
            raise StoreUnavailable(f"the store did not answer within {deadline:g} s") from late
        except SQLAlchemyError as fault:
            raise unavailable(fault) from fault
        except RuntimeError as closed:
            raise StoreUnavailable("the store is closed") from closed

    def close(self) -> None:
        """Start nothing more; wait for what runs, and for the connection to be closed, no longer than CLOSING."""
        with suppress(RuntimeError, TimeoutError):
            self._pool.submit(self._held.let_go).result(CLOSING)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self) -> None:
        """Answer all who wait now; those who gave up are left out."""
        with self._lock:
            taken, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            if self._waiting:
                self._pool.submit(self._answer)
        asked = [each for each in taken if each[2].set_running_or_notify_cancel()]
        if not asked:
            return
        try:
            with statement_deadline(max(ends for _, ends, _ in asked)):
                questions = [question for question, _, _ in asked]
                answers = self._held.run(lambda connection: self._work(connection, questions))
        except BaseException as fault:  # noqa: BLE001  it is the askers' to handle
            for _, _, future in asked:
                future.set_exception(fault)
        else:
            for (_, _, future), answer in zip(asked, answers, strict=True):
                future.set_result(answer)
