"""One sentence that says what the picture shows: how magnesium went, in what time, on which drugs, whether replaced."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

from service.logic.case import Case
from service.logic.case.drugs import is_administration
from service.logic.message import Message, Value
from service.logic.model import Analyte
from service.logic.rules.phrases import last_magnesium, substances
from service.pictures.axis import Axis
from service.pictures.results import Point, Series


def sentence(case: Case, serum: Series | None, axis: Axis) -> Message:
    """What is seen of serum magnesium; where there is nothing to see, why."""
    points = [point for point in serum.sound if axis.holds(point.at)] if serum else []
    if serum is None:
        return last_magnesium(case)
    said, newest = _told(case, serum, points, axis) if points else last_magnesium(case), serum.points[-1]
    if newest.doubt is None:
        return said
    return Message("{said} The newest result is not reliable: {why}.", said=said, why=newest.doubt)


def _told(case: Case, serum: Series, points: list[Point], axis: Axis) -> Message:
    course, replaced = _course(case, serum, points), _replaced(case, axis)
    if not case.wasting or len(points) == 1:  # one result tells of no course on anything
        return Message("{course}; {replaced}.", course=course, replaced=replaced)
    return Message("{course} on {drugs}; {replaced}.", course=course, drugs=substances(case.wasting), replaced=replaced)


def _course(case: Case, serum: Series, points: list[Point]) -> Message:
    first, last = _value(points[0]), _value(points[-1])
    said: dict[str, Value] = {
        "first": first,
        "last": last,
        "unit": serum.unit,
        "span": _span(points[-1].at - points[0].at),
    }
    if len(points) == 1:
        return Message("Magnesium {last} {unit}, the only reliable result of this time", **said)
    turn = _turn(case, points, serum.unit)
    if turn is not None and turn < first:
        return Message("Magnesium fell from {first} to {turn}, then rose to {last} {unit} in {span}", turn=turn, **said)
    if turn is not None:
        return Message("Magnesium rose from {first} to {turn}, then fell to {last} {unit} in {span}", turn=turn, **said)
    if last == first:
        return Message("Magnesium is {last} {unit}, as it was {span} before", **said)
    if last < first:
        return Message("Magnesium fell from {first} to {last} {unit} in {span}", **said)
    return Message("Magnesium rose from {first} to {last} {unit} in {span}", **said)


def _value(point: Point) -> Decimal:
    return point.value or Decimal(0)


def _turn(case: Case, points: list[Point], unit: str) -> Decimal | None:
    """The result between first and last that lies outside both, by more than the imprecision of the assay."""
    ends = (_value(points[0]), _value(points[-1]))
    noise = case.knowledge.limit("mg-marginal", unit, Analyte.SERUM_MAGNESIUM)

    def outside(point: Point) -> Decimal:
        return max(min(ends) - _value(point), _value(point) - max(ends))

    furthest = max(points, key=outside)
    return _value(furthest) if outside(furthest) > noise else None


def _span(time: timedelta) -> Message:
    """A length of time in the unit in which people say it."""
    if time < timedelta(hours=48):
        return Message("{hours} h", hours=max(round(time / timedelta(hours=1)), 1))
    if time < timedelta(days=14):
        return Message("{days} d", days=round(time / timedelta(days=1)))
    if time < timedelta(days=90):
        return Message("{weeks} weeks", weeks=round(time / timedelta(days=7)))
    return Message("{months} months", months=round(time / timedelta(days=30.44)))


def _replaced(case: Case, axis: Axis) -> Message:
    """What is charted of replacement in this time; silence of a list that could not be read is no "never"."""
    given = [dose for dose in case.magnesium_doses if is_administration(dose.drug) and axis.holds(dose.ended)]
    if len(given) > 1:
        return Message("magnesium given {count} times, last on {when}", count=len(given), when=given[0].ended)
    if given:
        return Message("magnesium given once, on {when}", when=given[0].ended)
    if case.magnesium_products:
        return Message("magnesium ordered or on the list: {drugs}", drugs=substances(case.magnesium_products))
    if not case.medications_known:
        return Message("whether magnesium was given is not known")
    if unknown := case.patient.unrecognised_medications:
        return Message("no magnesium seen among medications, of which {count} were not recognised", count=unknown)
    return Message("no magnesium given or ordered on this chart")
