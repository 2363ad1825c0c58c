"""Times of one call by stage, and its place in a trace (W3C Trace Context)."""

from __future__ import annotations

import re
from secrets import token_hex
from time import perf_counter
from typing import NamedTuple

# W3C Trace Context, level 1: version, trace-id, parent-id, trace-flags.
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]([0-9a-f])(?:-.*)?")


class TraceContext(NamedTuple):
    """A place in a trace (W3C Trace Context): ids of 32 and 16 hexadecimal digits; is the trace recorded?"""

    trace_id: str
    span_id: str
    sampled: bool

    def header(self) -> str:
        """As the header `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-0{self.sampled:d}"


class Stopwatch:
    """Seconds of one call, from now on, and of its stages: `with watch("read"): …`."""

    __slots__ = ("blocks", "started")

    def __init__(self) -> None:
        self.blocks: list[tuple[str, float, float]] = []  # stage, and when it began and ended, as `started`
        self.started = perf_counter()

    def __call__(self, stage: str) -> _Block:
        """A block whose time is added to the stage."""
        return _Block(stage, self.blocks)

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds by stage."""
        found: dict[str, float] = {}
        for stage, began, ended in self.blocks:
            found[stage] = found.get(stage, 0.0) + ended - began
        return found

    def total(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started

    def ms(self) -> dict[str, float]:
        """Milliseconds by stage, and in all until now."""
        return {stage: round(1000 * took, 2) for stage, took in {**self.seconds, "total": self.total()}.items()}


class _Block:
    """Notes when it began and ended, however it ends; it costs half of what a generator does."""

    __slots__ = ("_began", "_blocks", "_stage")

    def __init__(self, stage: str, blocks: list[tuple[str, float, float]]) -> None:
        self._stage, self._blocks = stage, blocks

    def __enter__(self) -> None:
        self._began = perf_counter()

    def __exit__(self, *_raised: object) -> None:
        self._blocks.append((self._stage, self._began, perf_counter()))


def sent_trace(traceparent: str) -> TraceContext | None:
    """The caller's place in a trace, from its header `traceparent`; None where there is none that can be used."""
    sent = _TRACE.fullmatch(traceparent)
    return TraceContext(sent[1], sent[2], bool(int(sent[3], 16) & 1)) if sent else None


def own_trace(sent: TraceContext | None) -> TraceContext:
    """A place of our own in the caller's trace, or in a new one."""
    return TraceContext(sent.trace_id if sent else token_hex(16), token_hex(8), bool(sent and sent.sampled))
