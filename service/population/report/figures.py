"""Plain SVG, readable in black and white: bars, a p-chart, a trade-off. Time runs left to right."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from service.population.report.control import Limits, Subgroup

_WIDTH = 860.0
_LONGEST_LABEL = 70


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" role="img" direction="ltr" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _text(x: float, y: float, words: str, css: str = "", anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{css}" text-anchor="{anchor}">{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def _rect(x: float, y: float, width: float, height: float, css: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" class="{css}"/>'


_HATCH = (
    '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<rect width="5" height="5" fill="white"/><line x1="0" y1="0" x2="0" y2="5" class="hatch"/></pattern></defs>'
)


class Bar(NamedTuple):
    """A row of a bar chart; `link` is the id of what it leads to."""

    label: str
    link: str
    first: int
    again: int


def bars(rows: Sequence[Bar], title: str) -> str:
    """One bar a row: first is solid, again is hatched, the numbers stand behind."""
    longest = max((row.first + row.again for row in rows), default=1) or 1
    left, step = 470.0, 22.0
    scale = (_WIDTH - left - 110) / longest
    parts = [_HATCH]
    for number, row in enumerate(rows):
        y = number * step
        bar = _rect(left, y + 3, row.first * scale, step - 8, "first")
        bar += _rect(left + row.first * scale, y + 3, row.again * scale, step - 8, "again")
        bar += _text(left - 8, y + 14, _short(row.label), "label", "end")
        parts.append(f'<a href="#{escape(row.link)}">{bar}</a>' if row.link else bar)
        parts.append(_text(left + (row.first + row.again) * scale + 6, y + 14, f"{row.first} + {row.again}", "value"))
    return _svg(_WIDTH, len(rows) * step + 4, parts, title)


def _short(label: str) -> str:
    """As much of a label as there is room for."""
    return label if len(label) <= _LONGEST_LABEL else f"{label[: _LONGEST_LABEL - 1]}…"


_LEFT, _BASE, _HEIGHT = 44.0, 190.0, 220.0  # of a p-chart


def p_chart(groups: Sequence[Subgroup], limits: Sequence[Limits], changes: Sequence[int], title: str) -> str:
    """Shares in per cent with mean and limits by stretch; points beyond the limits are filled squares."""
    step = (_WIDTH - _LEFT - 10) / len(groups)
    top = max(0.05, *(limit.high for limit in limits), *(group.share for group in groups))

    def y(share: float) -> float:
        return _BASE - (_BASE - 14) * share / top

    parts = _axis(groups, top)
    for number, (one, two) in enumerate(pairwise(groups)):
        x = _LEFT + (number + 0.5) * step
        parts.append(_line(x, y(one.share), x + step, y(two.share), "trace"))
    for number, (group, limit) in enumerate(zip(groups, limits, strict=True)):
        x = _LEFT + number * step
        parts += [_line(x, y(share), x + step, y(share), "limit") for share in (limit.low, limit.high)]
        parts.append(_line(x, y(limit.mean), x + step, y(limit.mean), "mean"))
        if number == 0 or number in changes:
            parts.append(_text(x + 3, y(limit.mean) - 4, f"{100 * limit.mean:.1f}", "value"))
        parts.append(_point(x + step / 2, y(group.share), limit.low <= group.share <= limit.high))
    for place in changes:
        parts.append(_line(_LEFT + place * step, 10, _LEFT + place * step, _BASE, "change"))
        parts.append(_text(_LEFT + place * step + 3, 12, groups[place].label, "value"))
    return _svg(_WIDTH, _HEIGHT, parts, title)


def _axis(groups: Sequence[Subgroup], top: float) -> list[str]:
    return [
        _line(_LEFT, _BASE, _WIDTH - 10, _BASE, "axis"),
        _text(_LEFT - 6, _BASE + 4, "0", "value", "end"),
        _text(_LEFT - 6, 18, f"{100 * top:.0f}", "value", "end"),
        _text(_LEFT, _HEIGHT - 8, groups[0].label, "value"),
        _text(_WIDTH - 10, _HEIGHT - 8, groups[-1].label, "value", "end"),
    ]


def _point(x: float, y: float, within: bool) -> str:
    if within:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" class="point"/>'
    return f'<rect x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10" class="beyond"/>'


def trade_off(points: Sequence[tuple[float, float, str]], title: str) -> str:
    """(burden per 100, sensitivity in %, the value) as labelled points, joined in the order of the values."""
    width, top, right = 460.0, 20.0, max(1.0, *(burden for burden, _, _ in points)) * 1.1
    places = [
        (_LEFT + (width - _LEFT - 40) * burden / right, _BASE - (_BASE - top) * share / 100, value)
        for burden, share, value in points
    ]
    parts = [_line(_LEFT, _BASE, width - 10, _BASE, "axis"), _line(_LEFT, _BASE, _LEFT, top, "axis")]
    parts += [
        _text(_LEFT - 6, top + 4, "100", "value", "end"),
        _text(width - 10, _BASE + 16, f"{right:.0f}", "value", "end"),
    ]
    parts += [_line(a[0], a[1], b[0], b[1], "trace") for a, b in pairwise(places)]
    for x, y, value in places:
        parts += [_point(x, y, True), _text(x + 7, y - 5, value, "value")]
    return _svg(width, _HEIGHT, parts, title)
