"""What is counted of a replay: burden (how often, how loud), sensitivity (what got no card, and why), practice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from service.cds.cards import FINDINGS, Card
from service.decide import Decision
from service.history.chart import History
from service.history.events import Event, Kind, chart_at
from service.logic.case import Case
from service.logic.knowledge import Knowledge
from service.logic.model import Analyte, Failed, Finding, Indicator, LabResult, NotMet, Withheld
from service.pictures import Spoke
from service.population.picture import Picture
from service.population.setup import Setup

Json = dict[str, Any]
LOUD: Final = {"warning", "critical"}
CRITICAL_LOW, CRITICAL_HIGH = Decimal("0.40"), Decimal("2.0")  # mmol/L (decision 46)
HELD_BACK: Final = "said before, and nothing is worse (repeat guard)"
MOST_MARKS: Final = 50  # on one timeline, the newest
_AGAIN_AFTER: Final = timedelta(days=30)  # outside a stay


@dataclass(frozen=True, slots=True)
class Shown:
    """What one configuration decided at an event, and the cards of it that are shown: without those said before."""

    decision: Decision
    held_back: int

    @property
    def cards(self) -> list[Card]:
        """The cards that are shown."""
        return self.decision.cards


@dataclass(slots=True)
class Measured:
    """Numbers of one patient under one configuration, and what was already said to those who read the chart.

    Examples get a timeline where a setup says how it is drawn.
    """

    pictured_by: Setup | None = None
    counts: Json = field(default_factory=dict)
    said: dict[tuple[str, str], datetime] = field(default_factory=dict)
    stays_with: dict[str, bool] = field(default_factory=dict)  # by name: loud or not
    spoke: list[Spoke] = field(default_factory=list)

    def count(self, *path: str, by: int = 1) -> None:
        """Add to the number at a path of names."""
        place = self.counts
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place[path[-1]] = place.get(path[-1], 0) + by

    def example(self, *path: str, order: tuple[str, str], **told: object) -> None:
        """Keep the first example at a path of names."""
        place = self.counts
        for name in path[:-1]:
            place = place.setdefault(name, {})
        place.setdefault(path[-1], {"order": list(order), **told})


def findings_of(card: Card) -> list[Json]:
    """The findings behind a card, as it carries them."""
    found: list[Json] = card.body.get("extension", {}).get(FINDINGS, [])
    return found


def kind_of_card(card: Card) -> str:
    """What a card is about: the finding that leads it."""
    lead = next(iter(findings_of(card)), None)
    return f"{lead['rule']} {lead['result']}" if lead else "data"


# ---- burden --------------------------------------------------------------------------------------------------------


def count_event(event: Event, shown: Shown, knowledge: Knowledge, history: History, measured: Measured) -> None:
    """One event: was there a card, how loud, about what, first or again; and if there was none, ought there be one?"""
    decision = shown.decision
    kind, cards = event.kind.value, decision.cards
    measured.count("events", kind)
    measured.count("drafts", kind, by=len(event.drafts))
    indicators = {card.body["indicator"] for card in cards}
    loud = bool(indicators & LOUD)
    measured.count("held_back", kind, by=shown.held_back)
    if cards:
        measured.count("with_card", kind)
        measured.count("levels", kind, _worst(indicators))
    if loud:
        measured.count("loud", kind)
    if event.kind is Kind.DAYS:
        _count_day(event, bool(cards), loud, history, measured)
    if event.stay and cards:
        measured.stays_with[event.stay.name] = loud or measured.stays_with.get(event.stay.name, False)
    for card in cards:
        _count_card(card, event, decision, history, measured)
    for result in decision.assessment.judgements:
        if isinstance(result.outcome, Failed):
            measured.count("failed", result.rule.id, result.outcome.error)
    if event.kind is Kind.RESULTS:
        reason = HELD_BACK if shown.held_back else _why_silent(decision)
        _count_results(event, decision, reason, knowledge, measured)


def _worst(indicators: set[str]) -> str:
    return next(level for level in ("critical", "warning", "info") if level in indicators)


def _count_day(event: Event, card: bool, loud: bool, history: History, measured: Measured) -> None:
    """Chart days by class of ward, and by month of the calendar for the chart over time."""
    classes = sorted(event.stay.classes) if event.stay else []
    month = event.at.astimezone(history.frame.zone).strftime("%Y-%m")
    for place in (("wards", classes[0] if classes else ""), ("months", month)):
        measured.count(*place, "days")
        measured.count(*place, "cards", by=int(card))
        measured.count(*place, "loud", by=int(loud))


def _count_card(card: Card, event: Event, decision: Decision, history: History, measured: Measured) -> None:
    indicator, about = card.body["indicator"], kind_of_card(card)
    measured.spoke.append(Spoke(event.at, Indicator(indicator), card.body["summary"]))
    again = _said_before(about, event, measured)
    fresh = "again" if again else "first"
    words = len(str(card.body.get("detail", "")).split()) + len(str(card.body["summary"]).split())
    measured.count("cards", event.kind.value, fresh)
    measured.count("words", event.kind.value, str(words))
    measured.count("kinds", about, fresh)
    measured.count("kinds", about, indicator)
    rules = dict.fromkeys(finding["rule"] for finding in findings_of(card))
    for rule in rules:
        measured.count("rules", rule, fresh)
        measured.count("rules", rule, "loud", by=int(indicator in LOUD))
    if lead := next(iter(rules), ""):
        measured.count("rules", lead, "lead")
    if indicator not in measured.counts.get("examples", {}).get(about, {}):
        _keep_example(card, event, decision, history, measured)


def _keep_example(card: Card, event: Event, decision: Decision, history: History, measured: Measured) -> None:
    """The first card of its kind and level, and the timeline on which it stands."""
    order = (decision.assessment.patient.reference, event.at.astimezone(UTC).isoformat())
    body = {name: card.body.get(name) for name in ("indicator", "summary", "detail")}
    body["source"] = card.body["source"].get("label", "")
    body["suggestions"] = [suggestion["label"] for suggestion in card.body.get("suggestions", ())]
    place, setup = (kind_of_card(card), card.body["indicator"]), measured.pictured_by
    picture: object = ""
    if setup:
        picture = Picture(chart_at(history, event), setup.site, setup.how.wording, tuple(measured.spoke[-MOST_MARKS:]))
    measured.example("examples", *place, order=order, event=event.kind.value, card=body, picture=picture)


def _said_before(about: str, event: Event, measured: Measured) -> bool:
    """Shown before in this stay; outside a stay, within a month."""
    place = (about, event.stay.name if event.stay else "")
    last, measured.said[place] = measured.said.get(place), event.at
    return last is not None and (event.stay is not None or event.at - last <= _AGAIN_AFTER)


def count_changes(event: Event, ours: Decision, theirs: Decision, measured: Measured) -> None:
    """Cards that another configuration gained or lost at an event, by what leads them and how loud they are."""
    was, is_ = ({(kind_of_card(c), c.body["indicator"]): c for c in d.cards} for d in (ours, theirs))
    for which, decision, cards, others in (("gained", theirs, is_, was), ("lost", ours, was, is_)):
        for place in cards.keys() - others.keys():
            measured.count("changes", place[0], which)
            card, patient = cards[place], decision.assessment.patient
            body = {name: card.body.get(name) for name in ("indicator", "summary", "detail")}
            order = (patient.reference, event.at.astimezone(UTC).isoformat())
            measured.example("changed", place[0], which, order=order, event=event.kind.value, card=body)


# ---- sensitivity ---------------------------------------------------------------------------------------------------


def _count_results(event: Event, decision: Decision, reason: str, knowledge: Knowledge, measured: Measured) -> None:
    """Each new serum magnesium outside its range: did it get a card, and if not, why not."""
    patient = decision.assessment.patient
    case: Case | None = None
    for result in patient.labs:
        if result.reference in event.results and result.analyte is Analyte.SERUM_MAGNESIUM:
            case = case or Case(patient, knowledge)
            if grade := _grade(result, case):
                _count_result(result, grade, event, decision, reason, measured)


def _grade(result: LabResult, case: Case) -> str:
    """critical, low or high; "" for a normal one and for one that cannot be graded."""
    if result.problem is not None or result.value is None:
        return ""
    if result.value < CRITICAL_LOW or result.value >= CRITICAL_HIGH:
        return "critical"
    found = case.classify(result)
    return found if found in {"low", "high"} else ""


def _count_result(
    result: LabResult, grade: str, event: Event, decision: Decision, reason: str, measured: Measured
) -> None:
    measured.count("results", grade, "all")
    if decision.cards:
        measured.count("results", grade, "card")
        measured.count("results", grade, "loud", by=int(any(c.body["indicator"] in LOUD for c in decision.cards)))
        return
    measured.count("results", grade, "silent", reason)
    at = event.at.astimezone(UTC).isoformat()
    value = f"{result.reported.value} {result.reported.unit}" if result.reported else ""
    patient = decision.assessment.patient.reference
    place = f"{patient} {at}" if grade == "critical" else reason
    measured.example("silent", grade, place, order=(patient, at), value=value, reason=reason)


def _why_silent(decision: Decision) -> str:
    """What the rules about the serum magnesium itself answered."""
    for result in decision.assessment.judgements:
        if result.rule.id in _ABOUT_THE_VALUE and isinstance(result.outcome, Finding) and result.outcome.context_only:
            return f"{result.rule.id} {result.outcome.result}: context, no reason for a card"
    for result in decision.assessment.judgements:
        if result.rule.id in _ABOUT_THE_VALUE and isinstance(result.outcome, Withheld):
            return f"{result.rule.id}: withheld ({result.outcome.gate})"
    outcome = decision.assessment.outcome("R-011")
    if isinstance(outcome, NotMet) and outcome.reason:
        return f"R-011: {outcome.reason.template}"
    return "no rule found a reason"


_ABOUT_THE_VALUE: Final = ("R-011", "R-014", "R-081", "R-010")


# ---- practice ------------------------------------------------------------------------------------------------------


def count_stays(history: History, measured: Measured) -> None:
    """Stays, their days, and those in which there was a card."""
    for stay in history.stays:
        if stay.within:
            continue
        measured.count("stays", "all")
        days = (stay.end - stay.start) / timedelta(days=1) if stay.end else 0
        measured.count("stays", "hours", by=round(days * 24))
        if stay.name in measured.stays_with:
            measured.count("stays", "card")
            measured.count("stays", "loud", by=int(measured.stays_with[stay.name]))
    for kind, number in history.unplaced.items():
        measured.count("unplaced", kind, by=number)


@dataclass(frozen=True, slots=True)
class Given:
    """A dose or an order of magnesium, and when."""

    at: datetime
    administered: bool
    intravenous: bool


RECENT, REPEAT, TREATED = timedelta(hours=48), timedelta(hours=48), timedelta(hours=24)


def count_practice(tests: list[tuple[datetime, str, bool]], given: list[Given], measured: Measured) -> None:
    """Doses at a magnesium in range, repeats of normal tests, lows left alone, time to repletion.

    `tests` are the serum magnesiums in the order of time: when taken, class by the range in force, in hospital or not.
    """
    for dose in given:
        if dose.administered and dose.intravenous:
            last = next((t for t in reversed(tests) if t[0] <= dose.at), None)
            level = last[1] if last and dose.at - last[0] <= RECENT else "no level"
            measured.count("practice", "doses", level)
    for before, test in zip([None, *tests], tests, strict=False):
        measured.count("practice", "tests", "all")
        if before and test[0] - before[0] <= REPEAT:
            measured.count("practice", "tests", "again")
            measured.count("practice", "tests", "again after normal", by=int(before[1] == "normal"))
    _count_lows(tests, given, measured)


def _count_lows(tests: list[tuple[datetime, str, bool]], given: list[Given], measured: Measured) -> None:
    for number, (taken, level, inpatient) in enumerate(tests):
        if level != "low":
            continue
        if inpatient:
            treated = any(taken <= dose.at <= taken + TREATED for dose in given)
            measured.count("practice", "lows", "treated" if treated else "untreated")
        if number == 0 or tests[number - 1][1] != "low":
            end = next((at for at, later, _ in tests[number + 1 :] if later != "low"), None)
            hours = str(round((end - taken) / timedelta(hours=1))) if end else "never"
            measured.count("practice", "hours to repletion", hours)


def unpacked(words: Json) -> Iterator[int]:
    """The values of a histogram, each as often as it was counted, in order."""
    for value in sorted(words, key=int):
        yield from [int(value)] * words[value]
