"""The rows under each other on one sheet: headings, plots, the kidney's strip, bars of drugs, doses, marks of cards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Final, NamedTuple

from service.cds.i18n import Wording
from service.logic.message import Message
from service.logic.model import Analyte, Indicator
from service.logic.rules.phrases import GATE
from service.pictures.axis import Axis
from service.pictures.drugs import Bar, Dose, Kind, Known, Span
from service.pictures.plot import BLUE, INK, SIZE, Plot, text
from service.pictures.results import Series, Stretch
from service.pictures.svg import cut, element, hint, length, safe, wrapped

LARGE, SMALL = 130.0, 46.0  # heights of a plot
_CLOSED: Final = "#b3261e"  # dark enough for white words, in print as well
MOST_BARS: Final = 12
_LINE: Final = 15.0  # from one line of words to the next
_COLOURS: Mapping[Kind, str] = MappingProxyType({Kind.WASTES: "#d55e00", Kind.CONTAINS: BLUE, Kind.BOUND: "#7a7a7a"})
KINDS: Mapping[Kind, Message] = MappingProxyType(
    {
        Kind.WASTES: Message("Drugs that waste magnesium"),
        Kind.CONTAINS: Message("Drugs that contain magnesium"),
        Kind.BOUND: Message("Drugs that magnesium binds in the gut"),
    }
)
KNOWN: Mapping[Known, Message] = MappingProxyType(
    {
        Known.TAKEN: Message("taken"),
        Known.ORDERED: Message("ordered, not known to be taken"),
        Known.UNKNOWN: Message("not known whether taken"),
    }
)
LEVELS: Mapping[Indicator, Message] = MappingProxyType(
    {
        Indicator.CRITICAL: Message("critical"),
        Indicator.WARNING: Message("warning"),
        Indicator.INFO: Message("information"),
    }
)

_ORIGINS: Mapping[str, Message] = MappingProxyType(
    {
        "laboratory": Message("band: range of the laboratory"),
        "profile": Message("band: default range, the laboratory gave none"),
        "flag": Message("no range: the laboratory gave only a flag"),
    }
)


class Spoke(NamedTuple):
    """A moment at which a card spoke: how urgent it was, and its headline in the reader's language."""

    at: datetime
    indicator: Indicator
    words: str


@dataclass(slots=True)
class Sheet:
    """What is drawn so far, down to `y`."""

    axis: Axis
    wording: Wording
    width: float
    y: float = 0.0
    parts: list[str] = field(default_factory=list)

    # ---- words

    def lines(self, words: str, size: float = SIZE, edge: float = 0.0, **more: object) -> None:
        """Words up to an edge (none: over the whole width), on as many lines as they need."""
        edge = edge or self.width - 4
        broader = 1.12 if "font_weight" in more else 1.0  # bold
        for line in wrapped(words, size * broader, edge - 4):
            self.y += size + 4
            self._words(safe(self.wording.line(line)), size, edge, **more)
        self.y += 2

    def _words(self, markup: str, size: float, edge: float, **more: object) -> None:
        """At the side where reading begins."""
        place = (edge, "end") if self.wording.language == "fa" else (4.0, "start")
        more |= {"x": place[0], "y": self.y, "text_anchor": place[1], "font_size": size, "fill": INK}
        self.parts.append(element("text", markup, **more))

    def heading(self, title: str, detail: str = "") -> None:
        """The title of a row in bold, and what belongs to it behind it, or beneath where the line is full."""
        edge = self.axis.right - 6  # not over the line of now
        title = title if title[1:2].isupper() else title[:1].upper() + title[1:]  # "eGFR" is so written
        self.y += 10
        if length(title, SIZE * 1.12) + length(detail, SIZE) + 12 < edge:
            before, after = self.wording.line("|").split("|")  # one direction for the whole line
            behind = element("tspan", safe(f" · {detail}"), fill_opacity=0.8) if detail else ""
            self.y += SIZE + 4
            self._words(element("tspan", safe(before + title), font_weight="bold") + behind + after, SIZE, edge)
            self.y += 2
        else:
            self.lines(title, SIZE, edge, font_weight="bold")
            self.y -= 2
            self.lines(detail, SIZE, edge, fill_opacity=0.8)
        self.y += 4

    # ---- rows

    def series(self, row: Series) -> None:
        """A plot under its heading."""
        height = LARGE if row.analyte is Analyte.SERUM_MAGNESIUM else SMALL
        plain = self.wording.plain
        ranged = [point.limits for point in row.points if point.limits and self.axis.holds(point.at)]
        origin = [plain(_ORIGINS[limits.origin]) for limits in ranged[-1:]]
        self.heading(plain(row.title), " · ".join([plain(Message("{unit}", unit=row.unit)), *origin]))
        plot = Plot(row, self.axis, self.wording, self.y + 12, self.y + 12 + height)
        self.parts.append(element("g", plot.drawn()))
        self.y += height + 24

    def strip(self, stretches: Sequence[Stretch]) -> None:
        """The kidney gate: open is empty, reduced grey, closed full, unknown dotted; now in words."""
        self.heading(self.wording.translate("kidney gate"), self.wording.plain(GATE[stretches[-1].gate]))
        self.y += 2
        for stretch in stretches:
            left, right = self.axis.x(stretch.begins), self.axis.x(stretch.ends)
            if stretch.ends >= self.axis.start:
                self._gate(stretch, min(left, self.axis.right - 6), right)
        self.y += 18

    def _gate(self, stretch: Stretch, left: float, right: float) -> None:
        state = gate_state(stretch.gate)
        words = self.wording.plain(GATE[stretch.gate])
        colour = _CLOSED if state == "closed" else INK
        self.parts.append(_box(left, self.y, right - left, 14.0, colour, _GATE_FILLS[state], words))
        name = self.wording.translate(state)
        if length(name, SIZE - 1) < right - left - 6:
            ink = "#ffffff" if state == "closed" else INK
            words = element("text", safe(self.wording.line(name)), x=(left + right) / 2, y=self.y + 11,
                            text_anchor="middle", font_size=SIZE - 1, fill=ink)  # fmt: skip
            self.parts.append(words)

    def bars(self, bars: Sequence[Bar]) -> None:
        """Drugs by what they do, each with its name over its bar."""
        last = None
        for bar in bars[:MOST_BARS]:
            if bar.kind is not last:
                self.heading(self.wording.plain(KINDS[bar.kind]))
                last = bar.kind
            self._bar(bar)
        if len(bars) > MOST_BARS:
            more = Message("{count} more in the table", count=len(bars) - MOST_BARS)
            self.lines(self.wording.plain(more))

    def _bar(self, bar: Bar) -> None:
        name = drug_name(bar, self.wording)
        self.y += SIZE
        begins = min((self.axis.x(span.begins) for span in bar.spans if span.begins), default=self.axis.left)
        room = self.axis.right - self.axis.left
        shown = cut(name, SIZE, room)
        left = max(min(begins, self.axis.right - length(shown, SIZE)), self.axis.left)
        self.parts.append(text(left, self.y, self.wording.line(shown)))
        for span in bar.spans:
            self._span(bar, span, name)
        self.y += 16

    def _span(self, bar: Bar, span: Span, name: str) -> None:
        right = self.axis.x(span.ends or self.axis.end)
        left = self.axis.x(span.begins) if span.begins else self.axis.left
        left, right = min(left, self.axis.right - 8), max(right, left + 3)  # a moment is seen, too
        right = min(right, self.axis.right)
        certain = span.begins is not None and span.ends is not None
        fill = _KNOWN_FILLS[span.known] if certain or span.known is not Known.TAKEN else "dotted"
        words = self.wording.translate(", ").join((name, span_words(span, self.wording)))
        colour = _COLOURS[bar.kind]
        self.parts.append(_box(left, self.y + 4, right - left, 8.0, colour, fill, words))
        if span.known is Known.TAKEN and span.begins is None and span.ends is not None:  # taken at its end, at least
            self.parts.append(
                _box(max(right - 12, left), self.y + 4, min(12.0, right - left), 8.0, colour, "full", words)
            )

    def doses(self, doses: Sequence[Dose]) -> None:
        """Ticks with grams; a label that would cover another is left to the table."""
        self.heading(self.wording.translate("magnesium given"))
        free = self.axis.left
        for dose in reversed(doses):
            x = self.axis.x(dose.ended)
            words = self.wording.plain(dose.amount) if dose.amount else "?"
            told = self.wording.translate(", ").join((dose.name, words, self.wording.moment(dose.ended)))
            tick = f"M{x - 4:.1f} {self.y + 14:.1f}h8l-4 9z"
            self.parts.append(element("path", hint(told), d=tick, fill=BLUE, stroke=BLUE))
            wide = length(words, SIZE)
            if free == self.axis.left or x + wide / 2 + 4 < free:
                free = x - wide / 2
                self.parts.append(text(x, self.y + SIZE, self.wording.line(words), "middle"))
        self.y += 26

    def cards(self, moments: Sequence[Spoke]) -> None:
        """Where a card spoke: a triangle for critical, a diamond for a warning, a ring for information."""
        self.heading(self.wording.translate("cards"), self._legend(moments))
        for moment in moments:
            x, y = self.axis.x(moment.at), self.y + 8
            level = self.wording.plain(LEVELS[moment.indicator])
            told = self.wording.translate(", ").join((level, self.wording.moment(moment.at), moment.words))
            self.parts.append(element("g", hint(told) + "".join(_mark(moment.indicator, x, y))))
        self.y += 20

    def _legend(self, moments: Sequence[Spoke]) -> str:
        used = {moment.indicator for moment in moments}
        signs = {Indicator.CRITICAL: "▲", Indicator.WARNING: "◆", Indicator.INFO: "○"}
        return "  ".join(f"{signs[level]} {self.wording.plain(LEVELS[level])}" for level in signs if level in used)

    # ---- time

    def times(self) -> None:
        """The labels of the axis."""
        self.y += SIZE + 4
        for tick in self.axis.ticks(self.wording):
            self.parts.append(text(self.axis.x(tick.at), self.y, self.wording.line(tick.label), "middle"))
        now = self.wording.line(self.wording.translate("now"))
        self.parts.append(text(self.axis.right, self.y, now, "middle", font_weight="bold"))

    def grid(self, top: float, bottom: float) -> None:
        """A line for each tick, and a strong one for now, behind everything."""
        lines = [(self.axis.x(tick.at), 0.14) for tick in self.axis.ticks(self.wording)]
        drawn = [
            element("line", x1=x, y1=top, x2=x, y2=bottom, stroke=INK, stroke_opacity=strength)
            for x, strength in (*lines, (self.axis.right, 0.7))
        ]
        self.parts[:0] = drawn


# ---- shapes --------------------------------------------------------------------------------------------------------

_GATE_FILLS: Mapping[str, str] = MappingProxyType(
    {"open": "empty", "reduced": "half", "closed": "full", "unknown": "dotted"}
)
_KNOWN_FILLS: Mapping[Known, str] = MappingProxyType(
    {Known.TAKEN: "full", Known.ORDERED: "hatched", Known.UNKNOWN: "dotted"}
)


def gate_state(gate: str) -> str:
    """open, reduced, closed or unknown."""
    return {"normal": "open", "reduced": "reduced", "unknown": "unknown"}.get(gate, "closed")


def _box(left: float, top: float, wide: float, high: float, colour: str, fill: str, words: str) -> str:
    """A bar, told apart without colour: full, half, hatched, dotted, empty."""
    outline = element(
        "rect", hint(words), x=left, y=top, width=wide, height=high, stroke=colour,
        fill=colour, fill_opacity={"full": 1, "half": 0.25}.get(fill, 0),
        stroke_dasharray="2 3" if fill == "dotted" else None,
    )  # fmt: skip
    return element("g", outline + (_hatch(left, top, wide, high, colour) if fill == "hatched" else ""))


def _hatch(left: float, top: float, wide: float, high: float, colour: str) -> str:
    steps: list[str] = []
    x = left
    while x + high <= left + wide and len(steps) < 400:
        steps.append(f"M{x:.1f} {top + high:.1f}l{high:.1f} {-high:.1f}")
        x += 6
    return element("path", d="".join(steps), stroke=colour, fill="none") if steps else ""


def _mark(level: Indicator, x: float, y: float) -> Iterator[str]:
    if level is Indicator.CRITICAL:
        yield element("path", d=f"M{x:.1f} {y - 8:.1f}l8 14h-16z", fill=INK, stroke=INK)
    elif level is Indicator.WARNING:
        yield element("path", d=f"M{x:.1f} {y - 7:.1f}l7 7l-7 7l-7 -7z", fill="#e69f00", stroke=INK)
    else:
        yield element("circle", cx=x, cy=y, r=5.0, fill=INK, fill_opacity=0, stroke=INK, stroke_width=1.5)


def drug_name(bar: Bar, wording: Wording) -> str:
    """A drug in the reader's language; marked where only its name was recognised."""
    named = Message("{drug} (by name)", drug=bar.name) if bar.by_name else Message("{drug}", drug=bar.name)
    return wording.plain(named)


def span_words(span: Span, wording: Wording) -> str:
    """From when to when, and how sure it is."""
    begins = wording.moment(span.begins) if span.begins else wording.translate("not known")
    ends = wording.moment(span.ends) if span.ends else wording.translate("not known")
    return f"{begins} – {ends}{wording.translate(', ')}{wording.plain(KNOWN[span.known])}"
