"""What was read of resources that are looked at at many moments: kept as long as the clock would answer the same.

A reading depends on the moment only by comparisons of a stated time with it. They are noted while a resource is read;
at another moment the reading holds if each of them comes out as before. Used where one patient is judged again and
again (a back-test); a call of the service has one moment and needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, TypeVar, cast

from service.fhir.resources import Resource

R = TypeVar("R", bound=Resource)
T = TypeVar("T")


class Comparison(NamedTuple):
    """A stated time compared with the moment of evaluation: before it, or after it, and whether that was so."""

    stated: datetime
    before: bool
    outcome: bool

    def holds_at(self, moment: datetime) -> bool:
        """The same outcome at another moment."""
        return ((self.stated < moment) if self.before else (self.stated > moment)) is self.outcome


class _Reading(NamedTuple):
    resource: Resource  # kept, for readings are found by its identity
    found: object
    compared: tuple[Comparison, ...]


@dataclass(slots=True)
class Memory:
    """Readings of one patient's resources by one site's words."""

    readings: dict[int, _Reading] = field(default_factory=dict)
    compared: list[Comparison] = field(default_factory=list)  # while a resource is being read

    def recall(self, resource: R, moment: datetime, read: Callable[[], T]) -> T:
        """What was read of a resource, if it still holds; else it is read, and kept."""
        known = self.readings.get(id(resource))
        if known is not None and all(comparison.holds_at(moment) for comparison in known.compared):
            return cast("T", known.found)
        self.compared.clear()
        found = read()
        self.readings[id(resource)] = _Reading(resource, found, tuple(self.compared))
        return found
