"""The time axis that all rows share: how far back it goes, where a moment is on it, and its ticks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final, NamedTuple

from persiantools.jdatetime import JalaliDate

from service.cds.i18n import Wording

HOURS: Final = timedelta(hours=72)
FORTNIGHT: Final = timedelta(days=14)
YEAR: Final = timedelta(days=365)
_ENOUGH: Final = 3  # results by which a course is seen
_FURTHER: Final = 1.5
_ROOM: Final = 58.0  # that a label needs
_STEPS: Final = tuple(timedelta(hours=hours) for hours in (1, 3, 6, 12, 24, 48, 96, 24 * 7, 24 * 14))


class Tick(NamedTuple):
    """A line across all rows, and what stands at it."""

    at: datetime
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """Moments from `start` to `end` (now) between two edges."""

    start: datetime
    end: datetime
    left: float
    right: float

    def x(self, moment: datetime) -> float:
        """Where a moment is; what lies before the start is at the left edge."""
        share = (moment - self.start) / (self.end - self.start)
        return self.left + (self.right - self.left) * min(max(share, 0.0), 1.0)

    def holds(self, moment: datetime) -> bool:
        """Whether it is on the picture."""
        return self.start <= moment <= self.end

    def ticks(self, wording: Wording) -> list[Tick]:
        """As many as there is room for: hours, days, weeks, or months of the reader's calendar."""
        most = max(int((self.right - self.left) / _ROOM), 2)
        span = self.end - self.start
        step = next((step for step in _STEPS if span / step <= most), None)
        found = self._steps(step, wording) if step else self._months(most, wording)
        return [tick for tick in found if self.x(tick.at) < self.right - 38]

    def _steps(self, step: timedelta, wording: Wording) -> Iterator[Tick]:
        today = self.end.astimezone(wording.zone).replace(hour=0, minute=0, second=0, microsecond=0)
        first = today - step * ((today - self.start) // step) if today > self.start else today
        moment = first
        while moment < self.end:
            if moment >= self.start:
                midnight = moment.hour == moment.minute == 0
                yield Tick(moment, wording.day(moment) if midnight else f"{moment:%H:%M}")
            moment += step

    def _months(self, most: int, wording: Wording) -> Iterator[Tick]:
        days = (self.end - self.start).days
        every = next((n for n in (1, 2, 3, 6, 12, 24, 60, 120) if days / 30 / n <= most), 240)
        for number, first in enumerate(_firsts(self.start.date(), self.end.date(), wording.language)):
            moment = datetime.combine(first, time(), wording.zone)
            if number % every == 0 and self.holds(moment):
                yield Tick(moment, wording.month(first))


def _firsts(start: date, end: date, language: str) -> Iterator[date]:
    """The first days of months, by the calendar of the language."""
    if language == "fa":
        day = JalaliDate.to_jalali(start.year, start.month, start.day).replace(day=1)
        while day.to_gregorian() <= end:
            yield day.to_gregorian()
            year, month = (day.year + 1, 1) if day.month == 12 else (day.year, day.month + 1)
            day = JalaliDate(year, month, 1)
        return
    first = start.replace(day=1)
    while first <= end:
        yield first
        first = (first + timedelta(days=32)).replace(day=1)


def beginning(now: datetime, moments: Sequence[datetime], in_hospital: bool) -> datetime:
    """How far back to look: hours in hospital, months at home, further only where nothing nearer tells a course."""
    spans = (HOURS, FORTNIGHT, YEAR) if in_hospital else (YEAR,)
    most = min(sum(now - moment <= YEAR for moment in moments), _ENOUGH)
    for span in spans:
        within = [moment for moment in moments if now - moment <= span]
        if within and len(within) >= most:
            return now - span
    return min(moments, default=now - spans[0])


def fitted(
    start: datetime, now: datetime, results: Sequence[datetime], begins: Sequence[datetime], in_hospital: bool
) -> datetime:
    """The start, nearer where nothing is drawn before; a day or a fortnight at least, and a little room at the left.

    The beginning of a drug is shown where it is not far before the results, which it would press together.
    """
    first = min((moment for moment in results or begins if moment >= start), default=start)
    near = max(start, now - (now - first) * _FURTHER)
    first = min((moment for moment in begins if near <= moment < first), default=first)
    least = timedelta(days=1) if in_hospital else FORTNIGHT
    return min(first - (now - first) * 0.03, now - least)
