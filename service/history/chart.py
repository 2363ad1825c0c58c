"""One patient's resources with their phases: the chart at any moment, each resource decoded once for each phase."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from math import inf
from typing import Final

import msgspec

from service.fhir import primitives
from service.fhir.decode import concepts, read_bundle
from service.fhir.primitives import local_reference
from service.fhir.resources import Resource
from service.history.phase import BEGINNING, FOREVER, Changes, Dates, Phase, Timeframe, dates_of, known_at, phases
from service.history.source import Source

# The order in which a chart is laid out, whatever the names of the files.
_ORDER: Final = (
    "Patient", "Encounter", "Observation", "MedicationRequest", "MedicationAdministration", "MedicationStatement",
    "MedicationDispense", "Condition", "ServiceRequest", "Specimen", "Medication",
)  # fmt: skip
_TIMELESS: Final = {"Medication"}
_NEVER_ASKED: Final = {"Specimen"}  # no prefetch query asks for it: a chart of the service has none


@dataclass(slots=True)
class Entry:
    """A resource with its dates, its phases, and what has been decoded of them."""

    source: Source
    dates: Dates
    phases: list[Phase]
    fixed: Changes = field(default_factory=dict)  # changed at all times
    decoded: dict[int, Resource | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`Type/id`."""
        return f"{self.dates.resource_type}/{self.dates.id}"

    def phase(self, number: int) -> Resource | None:
        """As it was in a phase; None if it is no resource that anybody reads."""
        if number not in self.decoded:
            self.decoded[number] = self.read({**self.phases[number].changes, **self.fixed})
        return self.decoded[number]

    def read(self, changes: Changes) -> Resource | None:
        """The resource with some members as they were."""
        found = read_bundle(changed(self.source.content, changes), self.source.full_url).resources
        return found[0] if found else None


def changed(content: bytes, changes: Changes) -> bytes:
    """A resource with some members replaced; those that are None are left out."""
    if not changes:
        return content
    members = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    for name, value in changes.items():
        if value is None:
            members.pop(name, None)
        else:
            members[name] = msgspec.Raw(msgspec.json.encode(value))
    return msgspec.json.encode(members)


@dataclass(frozen=True, slots=True)
class Stay:
    """An encounter, of which those within others are no chart of their own."""

    name: str
    start: datetime
    end: datetime | None
    classes: frozenset[str]
    within: bool
    admitted: bool


def _seconds(moment: datetime) -> float:
    return -inf if moment == BEGINNING else inf if moment == FOREVER else moment.timestamp()


@dataclass(frozen=True)
class History:
    """One patient: everything that is known, in the order of a chart, each with its time."""

    patient: str
    frame: Timeframe
    entries: list[Entry]
    shared: tuple[Resource, ...]
    stays: list[Stay]  # by start
    unplaced: Mapping[str, int]  # by kind: resources without a usable date

    @cached_property
    def _times(self) -> list[tuple[float, float, Entry, int]]:
        """All phases, with their times as seconds: thousands of them are compared at hundreds of moments."""
        return [
            (_seconds(phase.begins), _seconds(phase.ends), entry, number)
            for entry in self.entries
            for number, phase in enumerate(entry.phases)
        ]

    def chart(self, moment: datetime, without: Iterable[Entry] = ()) -> tuple[Resource, ...]:
        """The resources as they were, except some."""
        now, left_out = moment.timestamp(), {id(entry) for entry in without}
        current = [(entry, number) for begins, ends, entry, number in self._times if begins <= now < ends]
        came = [entry.phase(number) for entry, number in current if id(entry) not in left_out]
        return (*(resource for resource in came if resource is not None), *self.shared)

    def stay_at(self, moment: datetime) -> Stay | None:
        """The encounter in progress: the last one begun that is not within another."""
        running = [s for s in self.stays if s.start <= moment < (s.end or FOREVER)]
        return next((s for s in reversed(running) if not s.within), running[-1] if running else None)

    def of(self, kind: str) -> Iterator[Entry]:
        """The resources of a kind."""
        return (entry for entry in self.entries if entry.dates.resource_type == kind)


def history_of(patient: str, own: Iterable[Source], shared: Iterable[Source], frame: Timeframe) -> History:
    """Place the resources of a patient in time."""
    dated = [(source, dates_of(source.content)) for source in own]
    dated.sort(key=lambda item: _rank(item[1]))
    stays = sorted(_stays((d for _, d in dated if d.resource_type == "Encounter"), frame), key=lambda s: s.start)
    frame = replace(
        frame,
        stays={stay.name: (stay.start, stay.end) for stay in stays},
        answered=_answered((dates for _, dates in dated), frame),
    )
    entries, timeless, unplaced = [], [], dict[str, int]()
    for source, dates in dated:
        kind = dates.resource_type or ""
        if kind in _TIMELESS:
            timeless.append(source)
        elif kind in _NEVER_ASKED:
            continue
        elif found := phases(dates, frame):
            entries.append(Entry(source, dates, found))
        else:
            unplaced[kind] = unplaced.get(kind, 0) + 1
    products = (source for source in shared if not source.full_url.partition("/")[0].endswith("Specimen"))
    return History(patient, frame, entries, tuple(_decoded([*timeless, *products])), stays, unplaced)


def _rank(dates: Dates) -> int:
    kind = dates.resource_type or ""
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _decoded(sources: Iterable[Source]) -> Iterator[Resource]:
    for source in sources:
        yield from source.read()


def _stays(encounters: Iterable[Dates], frame: Timeframe) -> Iterator[Stay]:
    """The encounters that took place and of which the beginning is known."""
    for dates in encounters:
        start, end = frame.period(dates.period)
        if start and primitives.text(dates.status) not in _NEVER:
            within = bool(dates.part_of and dates.part_of.reference)
            yield Stay(f"Encounter/{dates.id}", start, end, class_codes(dates.class_), within, dates.admitted)


_NEVER: Final = {"planned", "cancelled", "entered-in-error"}


def _answered(dates: Iterable[Dates], frame: Timeframe) -> dict[str, datetime]:
    """When the first result of each order was known."""
    answered: dict[str, datetime] = {}
    for result in dates:
        known = known_at(result, frame) if result.resource_type == "Observation" and result.based_on else None
        for order in result.based_on or () if known else ():
            name = local_reference(order.reference or "")
            answered[name] = min(answered.get(name, known or FOREVER), known or FOREVER)
    return answered


def class_codes(raw: msgspec.Raw) -> frozenset[str]:
    """The class of an encounter: codes of a Coding (R4) or of concepts (R5), in lower case."""
    return (
        frozenset(coding.code.lower() for concept in concepts(raw) for coding in concept.codings)
        if raw
        else frozenset()
    )
