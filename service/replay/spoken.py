"""The moments at which cards would have spoken, computed again from the chart: nothing of them is kept anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Final, NamedTuple

from service.cds.cards import Presentation
from service.decide import decide
from service.fhir.memory import Memory
from service.fhir.ownership import EvaluationInput, index_resources
from service.fhir.snapshot import Site
from service.history.chart import history_of
from service.history.events import Kind, chart_at, events
from service.history.phase import Timeframe
from service.history.source import Source
from service.logic.model import Indicator
from service.pictures import Spoke
from service.replay.reader import Reader

# The cost of a picture is bounded, whatever was sent: so many moments, fewer of a chart of many resources.
MOST: Final = 30
_EFFORT: Final = 60_000  # moments times resources
_KINDS: Final = frozenset({Kind.RESULTS, Kind.ORDERS, Kind.ENCOUNTERS})


class Spoken(NamedTuple):
    """Cards of the past; where not every moment was judged again, `since` when."""

    cards: tuple[Spoke, ...] = ()
    since: datetime | None = None


def spoken(sources: Iterable[Source], patient_id: str, until: datetime, site: Site, how: Presentation) -> Spoken:
    """What a reader would have been shown before a moment: at results, orders signed, stays begun and ended."""
    history = history_of(patient_id, _own(sources, patient_id, until), (), Timeframe(site.zone))
    before = [event for event in events(history, _KINDS, site.codes) if event.at < until]
    judged = before[-max(min(MOST, _EFFORT // (len(history.entries) + 1)), 1) :]
    reader, memory, found = Reader(), Memory(), list[Spoke]()
    for event in judged:
        decision = decide(replace(chart_at(history, event), memory=memory), site, how)
        shown = (card.body for card in reader.without_repeats(decision, event.at).cards)
        found += [Spoke(event.at, Indicator(body["indicator"]), body["summary"]) for body in shown]
    return Spoken(tuple(found), judged[0].at if len(judged) < len(before) else None)


def _own(sources: Iterable[Source], patient_id: str, until: datetime) -> Iterator[Source]:
    """Without resources of other patients: of those no moment is one of this patient."""
    read = [(source, source.read()) for source in sources]
    together = tuple(resource for _, resources in read for resource in resources)
    index = index_resources(EvaluationInput(patient_id, until, resources=together))
    foreign = {id(resource) for resource in index.other_patient}
    return (source for source, resources in read if not any(id(resource) in foreign for resource in resources))
