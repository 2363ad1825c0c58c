"""How much magnesium an order gives: in one dose, in a day, over what time, and together with what already runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.drugs import is_administration, magnesium_route
from service.logic.message import Message
from service.logic.model import Medication, Schedule
from service.logic.rules.intake import once
from service.logic.units import rounded


@dataclass(frozen=True, slots=True)
class Course:
    """Grams of the compound in 24 h: what is scheduled, the largest line of a scale, as-needed doses at most.

    Lines of one scale (1 g, 2 g, 4 g) are alternatives and never summed (decision 14b).
    """

    scheduled: Decimal
    scale: Decimal
    as_needed: Decimal

    @property
    def most(self) -> Decimal:
        """Grams in 24 h if everything is given that may be."""
        return self.scheduled + self.scale + self.as_needed


def course(case: Case, ordered: list[Medication]) -> Course:
    """What is ordered into a vein or muscle, judged as one with what runs; an order signed again is not both."""
    together = [*ordered, *_running(case, ordered)]
    lines = [grams_per_dose(m) or Decimal(0) for m in of_kind(together, Schedule.SCALE)]
    return Course(
        scheduled=sum((grams_per_day(m) for m in of_kind(together, Schedule.SCHEDULED)), Decimal(0)),
        scale=max(lines, default=Decimal(0)),
        as_needed=sum((_grams_at_most(m) for m in of_kind(together, Schedule.AS_NEEDED)), Decimal(0)),
    )


def _running(case: Case, ordered: list[Medication]) -> list[Medication]:
    """Scheduled intravenous magnesium that is active; a charted dose and its request are one."""
    signed = {drug.reference for drug in ordered}
    names = signed | {m.reference for m in case.iv_magnesium}
    others = [m for m in once(case.iv_magnesium) if m.reference not in signed and not _has_run(case, m)]
    return [m for m in others if not (is_administration(m) and m.request in names)]


def _has_run(case: Case, drug: Medication) -> bool:
    """One infusion without a frequency that ended a day ago, whose order was left active."""
    if drug.start is None or drug.doses_per_day is not None or drug.duration_min is None:
        return False
    ended = drug.start.end + timedelta(minutes=float(drug.duration_min))
    return case.now - ended > case.duration("once-order")


def of_kind(drugs: Iterable[Medication], kind: Schedule) -> list[Medication]:
    """The orders of one kind."""
    return [drug for drug in drugs if kind_of(drug) is kind]


def kind_of(drug: Medication) -> Schedule:
    """Scheduled, scale or as needed; where the order does not say, untimed intravenous magnesium is a scale."""
    if drug.schedule is not Schedule.UNSTATED:
        return drug.schedule
    timed = drug.once or drug.doses_per_day or drug.duration_min or drug.rate_mg_min
    return Schedule.SCALE if magnesium_route(drug) == "iv" and not timed else Schedule.SCHEDULED


def grams_per_dose(drug: Medication) -> Decimal | None:
    """Grams of the compound in one dose; None if the order does not say."""
    amounts = [i.mg_per_dose for i in drug.ingredients if i.name.startswith("magnesium") and i.mg_per_dose is not None]
    return sum(amounts, Decimal(0)) / 1000 if amounts else None


def grams_per_day(drug: Medication) -> Decimal:
    """Grams of the compound in one day of this order, at least one dose; an infusion over days is spread over them."""
    days = Decimal(1) if drug.duration_min is None else max(drug.duration_min / 1440, Decimal(1))
    return (grams_per_dose(drug) or Decimal(0)) * max(drug.doses_per_day or Decimal(1), Decimal(1)) / days


def _grams_at_most(drug: Medication) -> Decimal:
    """Grams a day of an as-needed order at its maximum; one dose where no maximum is stated."""
    times = drug.most_per_day or drug.doses_per_day or Decimal(1)
    return (grams_per_dose(drug) or Decimal(0)) * max(times, Decimal(1))


def rate_mg_min(drug: Medication) -> Decimal | None:
    """The ordered rate: stated, or dose by duration; None when neither is known."""
    if drug.rate_mg_min is not None:
        return drug.rate_mg_min
    grams = grams_per_dose(drug)
    if grams is None or not drug.duration_min:
        return None
    return grams * 1000 / drug.duration_min


def is_it_needed(ordered: list[Medication], whole: Course) -> Message:
    """The question of decision 21, with the grams where the order says them."""
    grams = whole.scheduled if of_kind(ordered, Schedule.SCHEDULED) else max(whole.scale, whole.as_needed)
    if of_kind(ordered, Schedule.SCALE) and not of_kind(ordered, Schedule.SCHEDULED):
        return Message("is the scale (up to {grams} g) needed?", grams=_tenths(grams)) if grams else _SCALE_NEEDED
    return Message("is {grams} g needed?", grams=_tenths(grams)) if grams else Message("is it needed?")


_SCALE_NEEDED = Message("is the scale needed?")


def _tenths(grams: Decimal) -> Decimal:
    """Grams to one decimal, without a trailing zero."""
    return rounded(grams, 0) if grams == grams.to_integral_value() else rounded(grams, 1)
