"""Callers that never pause, and the list of ready replicas that a load balancer keeps for them."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import uuid4

from soak.calls import PATIENCE, Answer, Ehr
from soak.certificates import HERE

AFTER_NOTHING = 0.05  # s until the next try of one who was not answered


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call of the load; `fault` says why its answer must not be, `trace` is its id in the service's log."""

    kind: str
    port: int
    answer: Answer
    fault: str
    trace: str


@dataclass
class Load:
    """Where calls go, and what came of them. Replicas may be added and removed at any time."""

    ports: list[int]
    outcomes: list[Outcome] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def faults(self) -> list[Outcome]:
        """The calls that were not answered as they must be."""
        return [outcome for outcome in self.outcomes if outcome.fault]


class Caller(NamedTuple):
    """What calls until the load is over, and the kinds of calls that have to be among the outcomes then."""

    kinds: tuple[str, ...]
    calls: Callable[[Load], None]


def one(ehr: Ehr, kind: str, port: int, trace: str, kept: http.client.HTTPConnection | None = None) -> Outcome:
    """One call of a kind: what is sent as prefetch, or "feedback"."""
    if kind == "feedback":
        found = ehr.feedback(port, kept=kept, trace=trace)
        fault = "" if found.status == 200 else f"answered {found.status or found.words}"
    else:
        found = ehr.call(port, kind, kept=kept, trace=trace)
        fault = ehr.fault_of(found)
    return Outcome(kind, port, found.bare(), fault, trace)


@contextmanager
def running(ports: list[int], *callers: Caller) -> Iterator[Load]:
    """These callers, each in a thread of its own, while the block lasts; one that breaks is a fault among the outcomes.

    So is one that does not end, and a kind of call that was never made.
    """
    load = Load(list(ports))
    threads = [threading.Thread(target=_guarded, args=(caller, load), daemon=True) for caller in callers]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        for thread in threads:
            thread.join(2 * PATIENCE)
        made = {outcome.kind for outcome in load.outcomes}
        missing = {kind for caller in callers for kind in caller.kinds} - made
        load.outcomes += [_fault_of_ours(kind, "no such call was made") for kind in sorted(missing)]
        load.outcomes += [_fault_of_ours("caller", "did not end") for thread in threads if thread.is_alive()]


def _guarded(caller: Caller, load: Load) -> None:
    try:
        caller.calls(load)
    except Exception as error:  # noqa: BLE001  whatever it is: a caller that has gone must not look like a quiet one
        load.outcomes.append(_fault_of_ours("caller", f"ended with {type(error).__name__}: {error}"))


def _fault_of_ours(kind: str, fault: str) -> Outcome:
    """Something is wrong with the load itself, so the rest proves nothing."""
    return Outcome(kind, 0, Answer(0, 0.0, None, "no call"), fault, "")


def caller(ehr: Ehr, *kinds: str, keep: bool = True, pause: float = 0.0) -> Caller:
    """One that makes these kinds of calls in turn, at the replicas in turn; `keep`: over connections kept alive."""

    def calls(load: Load) -> None:
        kept: dict[int, http.client.HTTPConnection] = {}
        for number, kind in enumerate(itertools.cycle(kinds)):
            if load.over.is_set():
                break
            ready = tuple(load.ports)
            port = ready[number % len(ready)]
            wire = _wire(kept, ready, port) if keep else None
            outcome = one(ehr, kind, port, uuid4().hex, wire)
            load.outcomes.append(outcome)
            time.sleep(pause if outcome.answer.status else max(pause, AFTER_NOTHING))
        _wire(kept, (), 0)

    return Caller(kinds, calls)


def _wire(
    kept: dict[int, http.client.HTTPConnection], ready: tuple[int, ...], port: int
) -> http.client.HTTPConnection | None:
    """The connection to this replica; those to replicas that are gone are closed."""
    for gone in set(kept) - set(ready):
        kept.pop(gone).close()
    if port and port not in kept:
        kept[port] = http.client.HTTPConnection(HERE, port, timeout=PATIENCE)
    return kept.get(port)


def percentiles(seconds: list[float]) -> Mapping[str, float]:
    """Median, 99th percentile and the largest, in ms."""
    ordered = sorted(seconds) or [0.0]
    at = {"p50": len(ordered) // 2, "p99": min(len(ordered) - 1, int(len(ordered) * 0.99)), "max": len(ordered) - 1}
    return {name: 1000 * ordered[place] for name, place in at.items()}
