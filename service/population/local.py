"""The built-in engine: tasks in processes of this machine, which end with their parent and leave interrupts to it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing import connection, get_context, parent_process
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """What each task gave, as it is done, in no certain order. A fault of a task is raised here."""

    def __call__(self, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]: ...


@contextmanager
def processes(jobs: int) -> Iterator[Spread]:
    """So many processes, the same for all that is spread over them: what one has read of a site it keeps."""
    if jobs == 1:
        yield _here
        return
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        yield partial(_spread, pool)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _here(work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
    return map(work, tasks)


def _spread(pool: ProcessPoolExecutor, work: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
    if len(tasks) < 2:
        yield from map(work, tasks)
        return
    with ignore_sigint():
        submitted = [pool.submit(work, task) for task in tasks]
    for done in as_completed(submitted):
        yield done.result()


@contextmanager
def ignore_sigint() -> Iterator[None]:
    """Processes started here inherit that interrupts are ignored: they are left to the parent."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin_worker() -> None:
    """A worker does not outlive its parent."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
