"""Statistical process control of a share over time: subgroups, limits of a p-chart, and where the share changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import log, sqrt
from typing import Final, NamedTuple

FEWEST_EVENTS: Final = 25  # of a subgroup, or its limits say nothing
MOST_SUBGROUPS: Final = 40
_SHORTEST: Final = 4  # subgroups between two change points
_EVIDENCE: Final = 10.0  # by how much two shares must explain the data better than one: log-likelihood


class Subgroup(NamedTuple):
    """Some months together: how many events, and how many of them had what is counted."""

    label: str
    events: int
    hits: int

    @property
    def share(self) -> float:
        """Of all."""
        return self.hits / self.events


class Limits(NamedTuple):
    """The mean of a stretch of time, and three standard errors around it for one subgroup."""

    mean: float
    low: float
    high: float


def subgroups(months: Mapping[str, Mapping[str, int]], what: str) -> list[Subgroup]:
    """Months in the order of the calendar, joined until each has events enough; the rest joins the last one."""
    whole = sum(month["days"] for month in months.values())
    enough = max(FEWEST_EVENTS, whole // MOST_SUBGROUPS)
    found: list[Subgroup] = []
    label, events, hits = "", 0, 0
    for name in sorted(months):
        label = label or name
        events, hits = events + months[name]["days"], hits + months[name][what]
        if events >= enough:
            found.append(Subgroup(label, events, hits))
            label, events, hits = "", 0, 0
    if events and found:
        last = found.pop()
        found.append(Subgroup(last.label, last.events + events, last.hits + hits))
    return found


def change_points(groups: Sequence[Subgroup], start: int = 0) -> list[int]:
    """The places at which a new share begins: each split that explains the data much better, halves in turn."""
    best, gain = 0, _EVIDENCE
    for place in range(_SHORTEST, len(groups) - _SHORTEST + 1):
        better = _likelihood(groups[:place]) + _likelihood(groups[place:]) - _likelihood(groups)
        if better > gain:
            best, gain = place, better
    if not best:
        return []
    return [*change_points(groups[:best], start), start + best, *change_points(groups[best:], start + best)]


def _likelihood(groups: Sequence[Subgroup]) -> float:
    events, hits = sum(g.events for g in groups), sum(g.hits for g in groups)
    share = hits / events if events else 0.0
    return hits * log(share) + (events - hits) * log(1 - share) if 0 < share < 1 else 0.0


def limits(groups: Sequence[Subgroup], changes: Sequence[int]) -> list[Limits]:
    """The limits of each subgroup, by the mean of the stretch between two changes."""
    found = []
    for begin, end in pairwise([0, *changes, len(groups)]):
        stretch = groups[begin:end]
        events = sum(g.events for g in stretch)
        mean = sum(g.hits for g in stretch) / events if events else 0.0
        for group in stretch:
            error = 3 * sqrt(mean * (1 - mean) / group.events)
            found.append(Limits(mean, max(0.0, mean - error), min(1.0, mean + error)))
    return found
