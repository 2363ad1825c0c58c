"""What was taken, ordered and given, as bars and ticks: drugs that waste, contain or are bound by magnesium."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple

from service.logic.case import Case
from service.logic.case.drugs import MAGNESIUM_PRODUCT, WASTING, GivenDose, is_administration, magnesium_route
from service.logic.message import Message
from service.logic.model import Exposure, Medication
from service.logic.rules.orders.interactions import applies
from service.logic.units import rounded
from service.pictures.axis import Axis

MOST_DOSES: Final = 100


class Kind(StrEnum):
    """What a drug does."""

    WASTES = "wastes"
    CONTAINS = "contains"
    BOUND = "bound"


class Known(StrEnum):
    """How sure it is that it was taken."""

    TAKEN = "taken"
    ORDERED = "ordered"
    UNKNOWN = "unknown"


class Span(NamedTuple):
    """From when to when, None where no source tells."""

    begins: datetime | None
    ends: datetime | None
    known: Known


class Bar(NamedTuple):
    """One drug, by its ingredients; `by_name`: recognised by its name alone."""

    name: str
    kind: Kind
    spans: tuple[Span, ...]
    by_name: bool


class Dose(NamedTuple):
    """Magnesium that was given: grams or milligrams of the compound where the chart says so."""

    begun: datetime
    ended: datetime
    name: str
    amount: Message | None


def bars(case: Case) -> list[Bar]:
    """The drugs of the chart, those that waste first, each once."""
    spans: dict[tuple[Kind, str], list[Span]] = {}
    by_name: dict[tuple[Kind, str], bool] = {}
    for drug in _listed(case):
        kind = _kind(case, drug)
        if kind is None or _is_dose(case, drug):
            continue
        key = (kind, _name(drug, kind))
        spans.setdefault(key, []).append(_span(case, drug))
        by_name[key] = by_name.get(key, True) and drug.recognised_by == "name"
    found = [Bar(key[1], key[0], tuple(_merged(each)), by_name[key]) for key, each in spans.items()]
    return sorted(found, key=lambda bar: (list(Kind).index(bar.kind), bar.name))


def on(axis: Axis, bars: Iterable[Bar]) -> list[Bar]:
    """Bars with what is to be seen of them; what ended nobody knows when is shown only where it began."""

    def is_shown(span: Span) -> bool:
        return span.ends >= axis.start if span.ends else span.begins is not None and axis.holds(span.begins)

    shown = (bar._replace(spans=tuple(filter(is_shown, bar.spans))) for bar in bars)
    return [bar for bar in shown if bar.spans]


def _listed(case: Case) -> Iterator[Medication]:
    """Everything that is or was taken or ordered, drafts included."""
    unusable = {Exposure.NOT_TAKEN, Exposure.LOCAL}
    yield from (drug for drug in case.patient.medications if drug.exposure not in unusable)
    yield from (order.medication for order in case.patient.orders if order.medication is not None)


def _kind(case: Case, drug: Medication) -> Kind | None:
    if drug.classes & MAGNESIUM_PRODUCT:
        return Kind.CONTAINS
    if drug.classes & WASTING:
        return Kind.WASTES
    return Kind.BOUND if any(_binds(case, drug, product) for product in _swallowed(case)) else None


def _swallowed(case: Case) -> Iterable[Medication]:
    products = (drug for drug in _listed(case) if drug.classes & MAGNESIUM_PRODUCT)
    return [drug for drug in products if magnesium_route(drug) == "oral"]


def _binds(case: Case, drug: Medication, product: Medication) -> bool:
    kept_apart = (row for row in case.knowledge.interactions if not row.only_with)
    return drug.route in {"oral", ""} and any(applies(row, drug, product) for row in kept_apart)


def _is_dose(case: Case, drug: Medication) -> bool:
    """A charted dose of magnesium that is over is a tick, not a bar."""
    return is_administration(drug) and any(dose.drug is drug for dose in case.magnesium_doses)


def _name(drug: Medication, kind: Kind) -> str:
    """Of a combination those ingredients that do it; a mere class of drugs only where nothing else is known."""
    classes = {Kind.CONTAINS: MAGNESIUM_PRODUCT, Kind.WASTES: WASTING}.get(kind, drug.classes)
    named = dict.fromkeys(item.name for item in drug.ingredients if item.drug_class in classes)
    precise = [name for name in named if "(unnamed)" not in name]
    return ", ".join(precise or named) or drug.name


def _merged(spans: Iterable[Span]) -> Iterator[Span]:
    """Overlapping spans of equal certainty as one; what is sure stands last, so that it is drawn over the rest."""
    order = (Known.UNKNOWN, Known.ORDERED, Known.TAKEN)
    last: Span | None = None
    for span in sorted(spans, key=lambda s: (order.index(s.known), s.begins is not None, s.begins, s.ends is None)):
        if last is not None and _touch(last, span):
            ends = None if last.ends is None or span.ends is None else max(last.ends, span.ends)
            last = last._replace(ends=ends)
        else:
            if last is not None:
                yield last
            last = span
    if last is not None:
        yield last


def _touch(earlier: Span, later: Span) -> bool:
    if earlier.known is not later.known or (earlier.ends is None) != (later.ends is None):
        return False
    return earlier.ends is None or later.begins is None or later.begins <= earlier.ends


def _span(case: Case, drug: Medication) -> Span:
    if any(order.medication is drug for order in case.patient.orders):
        return Span(case.now, case.now, Known.ORDERED)  # a draft
    begun = drug.start or drug.ordered_at
    begins = min(begun.start, case.now) if begun else None
    goes_on = None if drug.exposure is Exposure.ENDED else case.now
    ends = min(drug.end.end, case.now) if drug.end else goes_on
    return Span(begins, ends, _known(case, drug))


def _known(case: Case, drug: Medication) -> Known:
    """An order tells of an order; that it was taken tells a statement, a dispense that lasts, or a charted dose.

    Of what has ended at an unknown time nobody knows how long it was taken.
    """
    if drug.exposure is Exposure.ENDED and drug.end is None:
        return Known.UNKNOWN
    if drug.reference.startswith("MedicationRequest/"):
        given = any(
            m.request == drug.reference and m.exposure is not Exposure.NOT_TAKEN for m in case.patient.medications
        )
        return Known.TAKEN if given else Known.ORDERED
    return Known.UNKNOWN if drug.exposure is Exposure.UNKNOWN else Known.TAKEN


def doses(case: Case) -> list[Dose]:
    """Magnesium given, oldest first; a course of weeks is a bar, not a dose."""
    found = [dose for dose in case.magnesium_doses if is_administration(dose.drug)]
    return [_dose(dose) for dose in reversed(found[:MOST_DOSES])]


def _dose(dose: GivenDose) -> Dose:
    found = dict.fromkeys(item.name for item in dose.drug.ingredients if item.drug_class in MAGNESIUM_PRODUCT)
    names = ", ".join(found) or dose.drug.name
    amounts = [i.mg_per_dose for i in dose.drug.ingredients if i.mg_per_dose is not None]
    return Dose(dose.begun, dose.ended, names, _weight(amounts) if amounts else None)


def _weight(amounts: list[Decimal]) -> Message:
    total = sum(amounts, Decimal(0))
    if total < 1000:
        return Message("{amount} mg", amount=rounded(total, 0))
    return Message("{grams} g", grams=rounded(total / 1000, 1).normalize())
