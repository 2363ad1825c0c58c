"""One row of points on a scale: its band, lines, trace, marks, and labels that do not cover each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import pairwise, product
from typing import Final, NamedTuple

from service.cds.i18n import Wording
from service.pictures.axis import Axis
from service.pictures.results import Limit, Point, Series, in_row
from service.pictures.svg import element, hint, length, safe

SIZE: Final = 11.0  # of labels
INK, BLUE = "currentColor", "#2a78c2"


class Box(NamedTuple):
    """A place that is taken."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether two places overlap."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def text(x: float, y: float, words: str, anchor: str = "start", size: float = SIZE, **more: object) -> str:
    """Words at a place; `anchor` is start (left), middle or end (right), in every language."""
    return element("text", safe(words), x=x, y=y, text_anchor=anchor, font_size=size, fill=INK, **more)


@dataclass(slots=True)
class Plot:
    """A row between `top` and `bottom`, of the points that are on the axis."""

    row: Series
    axis: Axis
    wording: Wording
    top: float
    bottom: float
    points: list[Point] = field(init=False)
    taken: list[Box] = field(init=False, default_factory=list)
    scale: Callable[[Decimal], float] = field(init=False)

    def __post_init__(self) -> None:
        """The scale holds every value, the range in force and the lines that matter."""
        self.points = [point for point in self.row.points if self.axis.holds(point.at)]
        values = [value for value in self._held() if value is not None]
        low, high = (float(min(values)), float(max(values))) if values else (0.0, 1.0)
        room = (high - low) * 0.12 or abs(high) * 0.1 or 1.0
        low, high = low - room, high + room
        self.scale = lambda value: self.bottom - (self.bottom - self.top) * (float(value) - low) / (high - low)

    def _held(self) -> Iterator[Decimal | None]:
        yield from (point.value for point in self.points)
        for point in self.points:
            if point.limits:
                yield from in_row(point.limits, self.row.unit, self.row.analyte)
        yield from (line.value for line in self.lines)

    @property
    def lines(self) -> list[Limit]:
        """Of the limits those that the values reach or come near, and the first on the side to which they go."""
        values = [point.value for point in self.points if point.value is not None]
        if not values:
            return []
        return list(near(self.row.lines, min(values), max(values)))

    def drawn(self) -> str:
        """All of it, from back to front."""
        for point in self.points:
            x, y = self._place(point)
            self.taken.append(Box(x - 4, y - 4, x + 4, y + 4))
        self.taken.append(Box(self.axis.right - 1, self.top - 20, self.axis.right + 1, self.bottom + 20))
        labels = "".join(self._labels())
        return "".join((*self._bands(), *self._limits(), *self._trace(), *self._marks(), labels))

    # ---- bands and lines

    def _bands(self) -> Iterator[str]:
        """The range in force, from one result to the next that has another."""
        spans = list(_spans(self.points))
        for place, (point, begins) in enumerate(spans):
            ends = spans[place + 1][1] if place + 1 < len(spans) else self.axis.end
            left = self.axis.left if place == 0 else self.axis.x(begins)
            yield from self._band(point, left, self.axis.x(ends))

    def _band(self, point: Point, left: float, right: float) -> Iterator[str]:
        low, high = in_row(point.limits, self.row.unit, self.row.analyte) if point.limits else (None, None)
        if low is None and high is None:
            return
        top = self.top if high is None else self.scale(high)
        bottom = self.bottom if low is None else self.scale(low)
        yield element("rect", x=left, y=top, width=right - left, height=bottom - top, fill=INK, fill_opacity=0.09)
        for edge, y in ((high, top), (low, bottom)):
            if edge is not None:
                yield element("line", x1=left, y1=y, x2=right, y2=y, stroke=INK, stroke_opacity=0.35)
                yield from self._edge(edge, y)

    def _edge(self, value: Decimal, y: float) -> Iterator[str]:
        """The number of a limit in the margin."""
        words = self.wording.number(value)
        box = Box(0, y - SIZE / 2, self.axis.left, y + SIZE / 2)
        if not any(box.meets(other) for other in self.taken):
            self.taken.append(box)
            yield text(self.axis.left - 4, y + 4, words, "end", fill_opacity=0.8)

    def _limits(self) -> Iterator[str]:
        for line in self.lines:
            y = self.scale(line.value)
            yield element("line", x1=self.axis.left, y1=y, x2=self.axis.right, y2=y, stroke=INK, stroke_dasharray="5 3")
            yield from self._named(self.wording.line(self.wording.plain(line.words)), y)

    def _named(self, words: str, y: float) -> Iterator[str]:
        """The name of a line, where there is room for it."""
        wide = length(words, SIZE - 1)
        lefts = (self.axis.left + 3, self.axis.right - wide - 3, (self.axis.left + self.axis.right - wide) / 2)
        for left, baseline in product(lefts, (y - 3, y + SIZE - 1)):
            box = _box(left, baseline, "start", wide)
            if self._is_free(box) and not any(_crosses(box, *step) for step in self._steps()):
                self.taken.append(box)
                yield text(left, baseline, words, size=SIZE - 1, fill_opacity=0.8)
                return

    # ---- points

    def _place(self, point: Point) -> tuple[float, float]:
        """What may not stand on the scale stands on the floor."""
        return self.axis.x(point.at), self.bottom if point.value is None else self.scale(point.value)

    def _trace(self) -> Iterator[str]:
        for (x1, y1), (x2, y2) in self._steps():
            yield element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=BLUE, stroke_width=1.5)

    def _steps(self) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
        """From each point that may be relied upon to the next."""
        return pairwise(self._place(point) for point in self.points if point.value is not None and not point.doubt)

    def _marks(self) -> Iterator[str]:
        for point in self.points:
            x, y = self._place(point)
            words = hint(self.told(point))
            yield from self._whisker(point, y)
            if point.doubt is None:
                yield element("circle", words, cx=x, cy=y, r=3.5, fill=BLUE)
            elif point.value is None:
                yield text(x, y, "?", "middle", SIZE + 2, font_weight="bold") + element(
                    "circle", words, cx=x, cy=y - 4, r=8.0, fill=INK, fill_opacity=0.0, stroke=INK
                )
            else:
                box = f"M{x:.1f} {y - 5.5:.1f}l5.5 5.5l-5.5 5.5l-5.5 -5.5z"
                yield element("path", words, d=box, fill=INK, fill_opacity=0.0, stroke=INK, stroke_width=1.5)

    def _whisker(self, point: Point, y: float) -> Iterator[str]:
        """How much of its time is known: a day, a month."""
        left, right = self.axis.x(point.begins), self.axis.x(point.ends)
        if right - left > 9:
            yield element("line", x1=left, y1=y, x2=right, y2=y, stroke=INK, stroke_opacity=0.6)

    def told(self, point: Point) -> str:
        """Value, day, doubt."""
        said = [self.wording.plain(point.amount), when(point, self.wording)]
        if point.doubt:
            said.append(self.wording.plain(point.doubt))
        return self.wording.line(self.wording.translate(", ").join(said))

    # ---- labels

    def _labels(self) -> Iterator[str]:
        for point in labelled(self.points):
            words = self._number(point)
            places = [(place, _box(*place, length(words, SIZE))) for place in self._around(point)]
            free = [(place, box) for place, box in places if self._is_free(box)]
            clear = [each for each in free if self._is_clear(each[1])]
            for place, box in (clear or free)[:1]:
                self.taken.append(box)
                yield text(*place[:2], words, place[2], font_weight="bold" if point is self.points[-1] else None)

    def _is_clear(self, box: Box) -> bool:
        """Over neither the trace nor a thin line."""
        ruled = (self.scale(line.value) for line in self.lines)
        traced = any(_crosses(box, *step) for step in self._steps())
        return not traced and not any(box.top < y < box.bottom for y in ruled)

    def _number(self, point: Point) -> str:
        return f"{point.comparator}{self.wording.number(point.value)}" if point.value is not None else ""

    def _around(self, point: Point) -> Iterator[tuple[float, float, str]]:
        """Places for its label, the best first: a low one below, any other above."""
        x, y = self._place(point)
        if self.axis.right - x < 14:  # beside the line of now, not under it
            yield from ((self.axis.right + 5, y + step, "start") for step in (4, -4, 12, -10, 18))
        above, below = (x, y - 7, "middle"), (x, y + SIZE + 5, "middle")
        lowest = min((p.value for p in self.points if p.value is not None), default=None)
        yield from (below, above) if point.value == lowest and len(self.points) > 1 else (above, below)
        yield from ((x - 7, y + 4, "end"), (x + 7, y + 4, "start"), (x - 6, y - 6, "end"), (x + 6, y - 6, "start"))
        yield from ((x - 6, y + SIZE + 4, "end"), (x + 6, y + SIZE + 4, "start"))

    def _is_free(self, box: Box) -> bool:
        inside = box.left >= self.axis.left - 2 and box.right <= self.axis.right + 36 and box.top >= self.top - 12
        return inside and box.bottom <= self.bottom + 12 and not any(box.meets(other) for other in self.taken)


def _crosses(box: Box, start: tuple[float, float], end: tuple[float, float]) -> bool:
    """Whether a stretch of the trace runs through a place."""
    (x1, y1), (x2, y2) = start, end
    left, right = max(box.left, x1), min(box.right, x2)
    if left > right or x1 == x2:
        return False
    heights = [y1 + (y2 - y1) * (x - x1) / (x2 - x1) for x in (left, right)]
    return min(heights) < box.bottom and max(heights) > box.top


def _box(x: float, y: float, anchor: str, wide: float) -> Box:
    left = {"start": x, "middle": x - wide / 2, "end": x - wide}[anchor]
    return Box(left, y - SIZE + 2, left + wide, y + 2)


def _spans(points: Sequence[Point]) -> Iterator[tuple[Point, datetime]]:
    """The points at which another range begins to be in force."""
    last = None
    for point in points:
        now = (point.limits.low, point.limits.high, point.limits.unit) if point.limits else None
        if now is not None and now != last:
            yield point, point.at
            last = now


def labelled(points: Sequence[Point]) -> list[Point]:
    """The last, the lowest, the highest and the first that have a value, each once."""
    valued = [point for point in points if point.value is not None]
    if not valued:
        return []
    by_value = sorted(valued, key=lambda point: point.value or 0)
    return list(dict.fromkeys((valued[-1], by_value[0], by_value[-1], valued[0])))


def near(lines: Sequence[Limit], lowest: Decimal, highest: Decimal) -> Iterator[Limit]:
    """Lines within the values, and the next one below and above where it is no further than twice or half of them."""
    for line in lines:
        if lowest / 2 <= line.value <= highest * Decimal("1.3"):
            yield line


def when(point: Point, wording: Wording) -> str:
    """The moment, or the day of a result without a time of day."""
    return wording.moment(point.begins.date() if point.begins != point.ends else point.begins)
