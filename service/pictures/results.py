"""What was measured, as rows of points: in one unit, each with its range in force and what makes it doubtful."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from types import MappingProxyType
from typing import Final, NamedTuple

from service.logic import formulas
from service.logic.case import Case
from service.logic.case.ranges import Range
from service.logic.case.results import time_between
from service.logic.message import Message
from service.logic.model import Analyte, LabResult, Problem
from service.logic.rules.phrases import ANALYTE, amount, limits
from service.logic.units import canonical, limit_in, rounded, to_unit

MOST_POINTS: Final = 150  # the newest ones of a row: a picture stays a picture, whatever was sent
MOST_GATES: Final = 30  # moments at which the kidney gate is judged again


class Point(NamedTuple):
    """One result: `value` in the unit of its row, None where it may not stand on a scale; `amount` as reported."""

    begins: datetime
    ends: datetime
    value: Decimal | None
    amount: Message
    comparator: str = ""
    limits: Range | None = None
    doubt: Message | None = None

    @property
    def at(self) -> datetime:
        """The middle of what is known of its time."""
        return self.begins + (self.ends - self.begins) / 2


class Limit(NamedTuple):
    """A thin line: a parameter of the knowledge in the unit of the row."""

    value: Decimal
    words: Message


@dataclass(frozen=True, slots=True)
class Series:
    """One row; points oldest first."""

    analyte: Analyte
    title: Message
    unit: str
    points: tuple[Point, ...]
    lines: tuple[Limit, ...] = ()

    @property
    def sound(self) -> list[Point]:
        """Points that may be relied upon."""
        return [point for point in self.points if point.value is not None and point.doubt is None]


class Stretch(NamedTuple):
    """The kidney gate from a moment to another."""

    begins: datetime
    ends: datetime
    gate: str


# ---- rows ----------------------------------------------------------------------------------------------------------


def series(case: Case) -> list[Series]:
    """The rows that hold something, in the order of the reasoning: level, its company, the kidney, the heart."""
    kidney = list(_moments_of_gate(case))
    rows = [
        *(_plain(case, analyte) for analyte in (*_MAGNESIUM, Analyte.POTASSIUM)),
        _calcium(case),
        _plain(case, Analyte.CREATININE),
        _egfr(case, kidney),
        _plain(case, Analyte.QTC),
    ]
    return [row for row in rows if row.points]


_MAGNESIUM: Final = (Analyte.SERUM_MAGNESIUM, Analyte.IONISED_MAGNESIUM, Analyte.RBC_MAGNESIUM)


def _plain(case: Case, analyte: Analyte) -> Series:
    labs = case.labs.get(analyte, [])[:MOST_POINTS]
    unit = _unit(labs, analyte)
    points = tuple(_point(case, lab, unit) for lab in reversed(labs))
    return Series(analyte, ANALYTE[analyte], unit, points, tuple(_lines(case, analyte, unit)))


def _unit(labs: Sequence[LabResult], analyte: Analyte) -> str:
    """The unit in which the newest usable result was reported."""
    reported = (lab.reported.unit for lab in labs if lab.reported and lab.problem is None)
    return next(reported, canonical(analyte))


def _point(case: Case, lab: LabResult, unit: str) -> Point:
    assert lab.taken is not None  # noqa: S101  a case holds dated results only
    value = _in(lab, unit) if lab.problem is None else None
    ends = min(lab.taken.end, max(case.now, lab.taken.start))
    limits = case.range_of(lab) if lab.problem is None else None
    return Point(lab.taken.start, ends, value, amount(lab), lab.comparator, limits, doubt(case, lab))


def _in(lab: LabResult, unit: str) -> Decimal | None:
    """As reported, or converted; a conversion is rounded as the unit is printed."""
    if lab.value is None or lab.reported is None:
        return None
    return lab.reported.value if lab.reported.unit == unit else _shown(to_unit(lab.value, unit, lab.analyte), unit)


def _shown(value: Decimal, unit: str) -> Decimal:
    """A calculated number with as many places as laboratories print in this unit."""
    return rounded(value, 0 if value >= 100 else 1 if unit == "mg/dL" else 2)


# Parameters that are drawn as thin lines, with the side on which they lie, from the inside outwards.
_LINES: Mapping[Analyte, tuple[tuple[str, Message], ...]] = MappingProxyType(
    {
        Analyte.SERUM_MAGNESIUM: (
            ("mg-severe", Message("severe below {limit}")),
            ("mg-high-moderate", Message("moderately high from {limit}")),
            ("mg-high-severe", Message("severely high from {limit}")),
            ("mg-high-life-threatening", Message("life-threatening from {limit}")),
        ),
        Analyte.POTASSIUM: (("k-very-low", Message("very low below {limit}")),),
        Analyte.CALCIUM: (("ca-very-low", Message("very low below {limit}")),),
        Analyte.ADJUSTED_CALCIUM: (("ca-very-low", Message("very low below {limit}")),),
        Analyte.IONISED_CALCIUM: (("ionised-ca-very-low", Message("very low below {limit}")),),
        Analyte.EGFR: (
            ("egfr-normal", Message("reduced below {limit}")),
            ("egfr-reduced", Message("closed below {limit}")),
        ),
        Analyte.QTC: (("qtc-long", Message("long from {limit}")),),
    }
)


def _lines(case: Case, analyte: Analyte, unit: str) -> Iterator[Limit]:
    for parameter, words in _LINES.get(analyte, ()):
        value = case.knowledge.limit(parameter, unit, analyte)
        yield Limit(value, Message(words.template, limit=value))


# ---- what makes a result doubtful ----------------------------------------------------------------------------------

_RELEASED_BY_RED_CELLS = frozenset({Analyte.SERUM_MAGNESIUM, Analyte.IONISED_MAGNESIUM, Analyte.POTASSIUM})
_PROBLEMS: Mapping[Problem, Message] = MappingProxyType(
    {
        Problem.NO_UNIT: Message("came without a unit"),
        Problem.UNKNOWN_UNIT: Message("unknown unit"),
        Problem.IMPLAUSIBLE: Message("implausible value"),
        Problem.IMPOSSIBLE_RANGE: Message("contradicts its own reference range"),
    }
)


def doubt(case: Case, lab: LabResult) -> Message | None:
    """Why a result is not to be relied upon, or None."""
    if lab.problem is not None:
        return _PROBLEMS.get(lab.problem, Message("not interpreted"))
    if lab.haemolysed and lab.analyte in _RELEASED_BY_RED_CELLS:
        return Message("haemolysed specimen")
    if lab.analyte is Analyte.SERUM_MAGNESIUM and case.iv_dose_at(lab):
        hours = int(case.duration("after-iv").total_seconds() // 3600)
        return Message("drawn during intravenous magnesium or less than {hours} h after it", hours=hours)
    if case.contradiction and lab in case.contradiction:
        return Message("contradicts another result of the same hour")
    return Message("probable EDTA contamination") if case.edta and lab in (case.mg, *case.edta) else None


# ---- calcium and the kidney: calculated values ---------------------------------------------------------------------


def _calcium(case: Case) -> Series:
    """The calcium by which the rules judge: ionised, else adjusted by the laboratory, else total, corrected if it can be."""
    kinds = (Analyte.IONISED_CALCIUM, Analyte.ADJUSTED_CALCIUM, Analyte.CALCIUM)
    analyte = case.calcium.analyte if case.calcium else next((kind for kind in kinds if case.labs.get(kind)), kinds[-1])
    row = _plain(case, analyte)
    if analyte is not Analyte.CALCIUM:
        return row
    labs = case.labs.get(analyte, [])[:MOST_POINTS]
    points = tuple(_corrected(case, *pair, row.unit) for pair in zip(row.points, reversed(labs), strict=True))
    return replace(row, title=Message("calcium, corrected for albumin"), points=points)


def _corrected(case: Case, point: Point, lab: LabResult, unit: str) -> Point:
    """Corrected with the albumin nearest to it; without one it is shown as it is, and said to be doubtful."""
    if point.value is None or lab.value is None:
        return point
    near = [(time_between(lab, albumin), albumin) for albumin in case.usable(Analyte.ALBUMIN)]
    apart, albumin = min(near, key=lambda pair: pair[0], default=(None, None))
    if albumin is None or apart is None or albumin.value is None or apart > case.duration("calcium-albumin-window"):
        return point._replace(doubt=point.doubt or Message("not corrected: no albumin of that time"))
    corrected = formulas.albumin_corrected_calcium(lab.value, albumin.value)
    value = _shown(to_unit(corrected, unit, Analyte.CALCIUM), unit)
    told = Message("{value} {unit} corrected (measured {amount})", value=value, unit=unit, amount=point.amount)
    return point._replace(value=value, amount=told)


def _moments_of_gate(case: Case) -> Iterator[tuple[datetime, Case]]:
    """The patient as known at each of the newest results by which the kidney is judged, oldest first."""
    labs = [*case.usable(Analyte.CREATININE), *case.usable(Analyte.EGFR)]
    moments = sorted({lab.taken.end for lab in labs if lab.taken and lab.taken.end <= case.now})[-MOST_GATES:]
    for moment in moments:
        yield moment, _as_of(case, moment)


_OF_THE_KIDNEY: Final = frozenset({Analyte.CREATININE, Analyte.EGFR, Analyte.HEIGHT})


def _as_of(case: Case, moment: datetime) -> Case:
    """What the results, and the conditions that are known to have begun, told of the kidney at a moment."""
    patient = case.patient
    labs = (lab for lab in patient.labs if lab.analyte in _OF_THE_KIDNEY and lab.taken and lab.taken.end <= moment)
    begun = (c for c in patient.conditions if c.onset is None or c.onset.start <= moment)
    return Case(replace(patient, as_of=moment, labs=tuple(labs), conditions=tuple(begun)), case.knowledge)


def _egfr(case: Case, kidney: Sequence[tuple[datetime, Case]]) -> Series:
    unit = canonical(Analyte.EGFR)
    points = []
    for moment, then in kidney:
        if then.egfr is not None:
            value = rounded(then.egfr, 0)
            points.append(Point(moment, moment, value, Message("{value} {unit}", value=value, unit=unit)))
    title = Message("eGFR, reported or computed from creatinine")
    return Series(Analyte.EGFR, title, unit, tuple(points), tuple(_lines(case, Analyte.EGFR, unit)))


def gates(case: Case) -> list[Stretch]:
    """The kidney gate over time: each holds until the next result, or until its result is no longer current."""
    kidney = list(_moments_of_gate(case))
    found: list[Stretch] = []
    for place, (moment, then) in enumerate(kidney):
        following = kidney[place + 1][0] if place + 1 < len(kidney) else case.now
        current = min(following, moment + then.creatinine_window)
        found += [Stretch(moment, current, then.gate), Stretch(current, following, "unknown")]
    lasting = (stretch for stretch in found if stretch.begins < stretch.ends)
    return list(_joined([*lasting, Stretch(case.now, case.now, case.gate)]))


def _joined(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Without borders between equal neighbours."""
    for _, equal in groupby(stretches, key=lambda stretch: stretch.gate):
        together = list(equal)
        yield together[0]._replace(ends=together[-1].ends)


def range_words(point: Point) -> Message:
    """The range in force for a result, and where it comes from."""
    return limits(point.limits)


def in_row(limits: Range, unit: str, analyte: Analyte) -> tuple[Decimal | None, Decimal | None]:
    """Both ends of a range in the unit of its row."""
    ends = (limits.low, limits.high)
    low, high = (None if end is None else limit_in(end, limits.unit, unit, analyte) for end in ends)
    return low, high
