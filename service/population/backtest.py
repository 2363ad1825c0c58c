"""The job `backtest`: one patient's events, each judged on the chart as it was, by one or more configurations.

`replay` is the pure part: a history and configurations in, decisions out. `backtest` makes rows and numbers of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from service.cds.cards import Card
from service.decide import decide
from service.fhir.memory import Memory
from service.fhir.observation import meaning_of
from service.fhir.resources import Observation
from service.history.chart import Entry, History, history_of
from service.history.events import Event, Kind, chart_at, events
from service.history.phase import Assumptions, Timeframe
from service.logic.model import Analyte
from service.population.bucket import Judged
from service.population.measure import (
    Measured,
    Shown,
    count_changes,
    count_event,
    count_practice,
    count_stays,
    findings_of,
    kind_of_card,
)
from service.population.practice import looked_back
from service.population.record import Chart
from service.population.setup import Configuration, Setup, prepared
from service.replay.reader import Reader

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StatedRange:
    """A laboratory's range, which the export does not state with its results."""

    analyte: Analyte
    low: str
    high: str
    unit: str


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of every patient; can be sent to another process. The first configuration is the one in use."""

    configurations: tuple[Configuration, ...]
    kinds: frozenset[Kind]
    guard: bool = True
    versus: bool = False  # the second configuration is compared with the first, card by card
    ranges: tuple[StatedRange, ...] = ()
    hour: int = 8
    assume: Assumptions = field(default_factory=Assumptions)


@dataclass(frozen=True, slots=True)
class Moment:
    """An event and what each configuration showed there, in their order."""

    event: Event
    shown: tuple[Shown, ...]


def backtest(chart: Chart, options: Options) -> Judged:
    """Replay one patient."""
    setups = [prepared(configuration) for configuration in options.configurations]
    history = _history(chart, setups[0], options)
    rows: list[Json] = []
    counts: list[Measured] = [Measured(setups[0]), *(Measured() for _ in setups[1:])]
    for moment in replay(history, setups, options):
        for shown, setup, found in zip(moment.shown, setups, counts, strict=True):
            count_event(moment.event, shown, setup.site.knowledge, history, found)
        rows += (_row(card, moment.event, history) for card in moment.shown[0].cards)
        if options.versus:
            rows += _changed(moment, history, counts[1])
    for found in counts:
        count_stays(history, found)
    count_practice(*looked_back(history, setups[0]), counts[0])
    return Judged(rows, {"configurations": {str(number): found.counts for number, found in enumerate(counts)}})


def replay(history: History, setups: Sequence[Setup], options: Options) -> Iterator[Moment]:
    """Each event in the order of time, judged by each configuration on the same chart."""
    asked = [replace(setup.how, new_id=_no_id) for setup in setups]
    readers, memories = [Reader() for _ in setups], [Memory() for _ in setups]
    for event in events(history, options.kinds, setups[0].site.codes, options.hour):
        chart, shown = chart_at(history, event), []
        for setup, how, reader, memory in zip(setups, asked, readers, memories, strict=True):
            decision = decide(replace(chart, memory=memory), setup.site, how)
            news = reader.without_repeats(decision, event.at) if options.guard else decision
            shown.append(Shown(news, len(decision.cards) - len(news.cards)))
        yield Moment(event, tuple(shown))


def _no_id() -> str:
    """Cards of a replay are told by their place; the same run gives the same cards."""
    return ""


def _history(chart: Chart, setup: Setup, options: Options) -> History:
    frame = Timeframe(setup.site.zone, assume=options.assume)
    history = history_of(chart.patient, chart.own, chart.shared, frame)
    for entry in history.of("Observation") if options.ranges else ():
        _state_range(entry, setup, options.ranges)
    return history


def _state_range(entry: Entry, setup: Setup, ranges: Sequence[StatedRange]) -> None:
    """Give a result the laboratory's range if it carries none."""
    resource = entry.read({})
    if not isinstance(resource, Observation) or bytes(resource.referenceRange):
        return
    analyte = getattr(meaning_of(resource.code, setup.site.codes), "analyte", None)
    for stated in ranges:
        if stated.analyte is analyte:
            low, high = ({"value": float(limit), "unit": stated.unit} for limit in (stated.low, stated.high))
            entry.fixed = {"referenceRange": [{"low": low, "high": high}]}


# ---- rows ----------------------------------------------------------------------------------------------------------


def _changed(moment: Moment, history: History, counts: Measured) -> Iterator[Json]:
    """The cards of an event by the first two configurations, if they differ."""
    ours, theirs = moment.shown[:2]
    count_changes(moment.event, ours.decision, theirs.decision, counts)
    was, is_ = ([_row(card, moment.event, history) for card in shown.cards] for shown in (ours, theirs))
    if [_gist(row) for row in was] != [_gist(row) for row in is_]:
        yield {"configuration": 1} | _where(moment.event, history) | {"was": was, "is": is_}


def _gist(row: Mapping[str, Any]) -> tuple[object, ...]:
    return row["indicator"], row["findings"]


def _where(event: Event, history: History) -> Json:
    place: Json = {"patient": f"Patient/{history.patient}", "at": event.at.astimezone(history.frame.zone).isoformat()}
    place |= {"event": event.kind.value, "hook": event.hook.value}
    if event.stay:
        place |= {"encounter": event.stay.name}
    if event.drafts:
        place |= {"drafts": [entry.name for entry in event.drafts]}
    return place


def _row(card: Card, event: Event, history: History) -> Json:
    body = card.body
    told: Json = {name: body[name] for name in ("indicator", "summary", "detail") if name in body}
    told["findings"] = findings_of(card)
    if suggestions := [suggestion["label"] for suggestion in body.get("suggestions", ())]:
        told["suggestions"] = suggestions
    return _where(event, history) | told | {"source": body["source"].get("label", ""), "kind": kind_of_card(card)}
