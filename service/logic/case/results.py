"""One patient's laboratory results: which may be interpreted, how old they are, which belong together."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from functools import cached_property

from service.logic.knowledge import Knowledge
from service.logic.model import Analyte, LabResult, PatientSnapshot, Problem
from service.logic.units import FACTORS


class Results:
    """A snapshot and the knowledge; every reading is computed once."""

    def __init__(self, snapshot: PatientSnapshot, knowledge: Knowledge) -> None:
        self.patient = snapshot
        self.knowledge = knowledge
        self.now = snapshot.as_of

    @cached_property
    def labs(self) -> dict[Analyte, list[LabResult]]:
        """Results that are not in the future, newest first (effective time, then time of issue), duplicates once."""
        by_analyte: dict[Analyte, list[LabResult]] = {}
        for result in sorted(self.patient.labs, key=_newest, reverse=True):
            if result.taken is None or result.problem in _NEVER:
                continue
            same = by_analyte.setdefault(result.analyte, [])
            if not any(_duplicate(result, other) for other in same[-3:]):
                same.append(result)
        return by_analyte

    def usable(self, analyte: Analyte) -> list[LabResult]:
        """Results of an analyte that may be interpreted, newest first."""
        return [result for result in self.labs.get(analyte, ()) if result.problem is None]

    def age_of(self, result: LabResult) -> timedelta:
        """How long before the moment of evaluation the result was taken; a day without time counts to its end."""
        assert result.taken is not None  # noqa: S101  labs holds dated results only
        return max(self.now - result.taken.end, timedelta(0))

    def window(self, inpatient: str, ambulatory: str) -> timedelta:
        """The window in force: the inpatient one in hospital or emergency care, else the ambulatory one."""
        return self.duration(inpatient if self.patient.inpatient else ambulatory)

    def duration(self, parameter: str) -> timedelta:
        """A time parameter."""
        return self.knowledge.duration(parameter)

    def current(self, analyte: Analyte, window: timedelta | None = None) -> LabResult | None:
        """The newest usable result within the window (default: the window for pairs), or None."""
        limit = self.pair_window if window is None else window
        return next((r for r in self.usable(analyte) if self.age_of(r) <= limit), None)

    @cached_property
    def pair_window(self) -> timedelta:
        """How long potassium, calcium, albumin, bicarbonate and QTc are current."""
        return self.window("pair-inpatient", "pair-ambulatory")

    @cached_property
    def mg_window(self) -> timedelta:
        """How long serum magnesium is current."""
        return self.window("mg-current-inpatient", "mg-current-ambulatory")

    def same_collection(self, result: LabResult, analyte: Analyte) -> LabResult | None:
        """A usable result of another analyte from the same specimen, or taken at the same moment."""
        for other in self.usable(analyte):
            if result.specimen and result.specimen == other.specimen:
                return other
            if time_between(result, other) == timedelta(0):
                return other
        return None


_NEVER = frozenset({Problem.STATUS, Problem.PRELIMINARY, Problem.NO_TIME, Problem.FUTURE, Problem.NO_VALUE})


def below(result: LabResult, limit: Decimal) -> bool:
    """`value < limit` in the reported unit; `<x` is just below x, `>x` just above."""
    value = _reported(result)
    return value < limit or (value == limit and result.comparator == "<")


def above(result: LabResult, limit: Decimal) -> bool:
    """`value > limit` in the reported unit; `<x` is just below x, `>x` just above."""
    value = _reported(result)
    return value > limit or (value == limit and result.comparator == ">")


def at_least(result: LabResult, limit: Decimal) -> bool:
    """`value >= limit` in the reported unit."""
    return not below(result, limit)


def _reported(result: LabResult) -> Decimal:
    assert result.reported is not None  # noqa: S101  usable results carry value and unit
    return result.reported.value


def canonical(result: LabResult) -> Decimal:
    assert result.value is not None  # noqa: S101  usable results carry value and unit
    return result.value


def unit_of(result: LabResult) -> str:
    return result.reported.unit if result.reported else next(iter(FACTORS[result.analyte]))


def _newest(result: LabResult) -> tuple[float, float, bool, str]:
    taken = result.taken.end.timestamp() if result.taken else 0.0
    issued = result.issued.timestamp() if result.issued else 0.0
    return taken, issued, result.status in {"corrected", "amended"}, result.reference


def _duplicate(one: LabResult, other: LabResult) -> bool:
    return (one.taken, one.reported, one.comparator, one.problem) == (
        other.taken, other.reported, other.comparator, other.problem,
    ) and one.haemolysed == other.haemolysed  # fmt: skip


def is_day_only(result: LabResult) -> bool:
    return result.taken is not None and result.taken.date_only


def time_between(one: LabResult, other: LabResult) -> timedelta:
    assert one.taken is not None  # noqa: S101  labs holds dated results only
    assert other.taken is not None  # noqa: S101  labs holds dated results only
    return abs(one.taken.end - other.taken.end)
