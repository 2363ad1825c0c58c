"""The whole picture: its axis, its rows, its sentence and its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final

from service.cds.i18n import Wording
from service.logic.case import Case
from service.logic.message import Message
from service.logic.model import Analyte, Problem
from service.pictures import drugs, table
from service.pictures.axis import Axis, beginning, fitted
from service.pictures.plot import SIZE
from service.pictures.results import Series, Stretch, gates, series
from service.pictures.sentence import sentence
from service.pictures.sheet import Sheet, Spoke
from service.pictures.svg import clean, element, safe
from service.pictures.table import Row

WIDE, NARROW, NARROWEST, WIDEST = 720, 320, 240, 1600
"""Widths for a page and for a narrow panel, in pixels of CSS: text is 11 px at this width, and scales with the picture."""
_LEFT, _RIGHT = 42.0, 36.0  # margins of the plots: numbers of limits, "now"
_STYLE: Final = (
    "svg{color:#1b1f24;background:#fff;font-family:system-ui,sans-serif}"
    "@media(prefers-color-scheme:dark){svg{color:#e8eaed;background:#15181c}}"
    "@media print{svg{color:#000;background:#fff}}"
)


@dataclass(frozen=True, slots=True)
class Timeline:
    """The picture, what it shows in a sentence, and the same as a table."""

    svg: str
    sentence: str
    table: tuple[Row, ...]

    @property
    def alone(self) -> str:
        """A complete file: with its own colours, light or dark."""
        opening, rest = self.svg.split(">", 1)
        return f'{opening} xmlns="http://www.w3.org/2000/svg">{element("style", _STYLE)}{rest}'


@dataclass(frozen=True, slots=True)
class _Content:
    """All that is known of one patient and may be drawn."""

    rows: list[Series]
    stretches: list[Stretch]
    bars: list[drugs.Bar]
    doses: list[drugs.Dose]
    moments: list[Spoke]
    since: datetime | None


def timeline(
    case: Case, wording: Wording, moments: Iterable[Spoke] = (), width: int = WIDE, since: datetime | None = None
) -> Timeline:
    """Draw one patient up to the moment of the case, with the moments at which cards spoke.

    `width` in pixels: WIDE, NARROW or any between NARROWEST and WIDEST. `since`: cards were looked for from then on only.
    """
    spoke = sorted((moment for moment in moments if moment.at <= case.now), key=lambda moment: moment.at)
    content = _Content(series(case), gates(case), drugs.bars(case), drugs.doses(case), spoke, since)
    room = float(min(max(width, NARROWEST), WIDEST))
    axis = _axis(case, content, room)
    serum = next((row for row in content.rows if row.analyte is Analyte.SERUM_MAGNESIUM), None)
    said = clean(wording.plain(sentence(case, serum, axis)))
    sheet = _drawn(Sheet(axis, wording, room), said, case, content)
    return Timeline(_svg(sheet, said), said, tuple(Row(*map(clean, row)) for row in _table(content, wording)))


def _axis(case: Case, content: _Content, width: float) -> Axis:
    serum = [point.at for row in content.rows if row.analyte is Analyte.SERUM_MAGNESIUM for point in row.points]
    start = beginning(case.now, serum, case.in_hospital)
    drawn = [point.at for row in content.rows for point in row.points] + [dose.ended for dose in content.doses]
    begins = [span.begins for bar in content.bars for span in bar.spans if span.begins]
    return Axis(fitted(start, case.now, drawn, begins, case.in_hospital), case.now, _LEFT, width - _RIGHT)


def _drawn(sheet: Sheet, said: str, case: Case, content: _Content) -> Sheet:
    sheet.lines(said, SIZE + 3, font_weight="bold")
    rows = [row for row in content.rows if any(sheet.axis.holds(point.at) for point in row.points)]
    if rows or content.bars or content.doses:
        sheet.times()
        top = sheet.y + 4
        _rows(sheet, rows, content)
        sheet.times()
        sheet.grid(top, sheet.y - SIZE)
    for note in _notes(case, rows, content, sheet.axis):
        sheet.lines(sheet.wording.plain(note), fill_opacity=0.85)
    return sheet


_OF_THE_KIDNEY: Final = (Analyte.CREATININE, Analyte.EGFR)


def _rows(sheet: Sheet, rows: Sequence[Series], content: _Content) -> None:
    """From top to bottom: level, its company, the kidney, the heart, the drugs, what cards said."""
    for row in rows:
        if row.analyte is not Analyte.QTC:
            sheet.series(row)
    sheet.strip(content.stretches)
    for row in rows:
        if row.analyte is Analyte.QTC:
            sheet.series(row)
    sheet.bars(drugs.on(sheet.axis, content.bars))
    if any(sheet.axis.holds(dose.ended) for dose in content.doses):
        sheet.doses([dose for dose in content.doses if sheet.axis.holds(dose.ended)])
    if shown := [moment for moment in content.moments if sheet.axis.holds(moment.at)]:
        sheet.cards(shown)


def _notes(case: Case, rows: Sequence[Series], content: _Content, axis: Axis) -> Iterator[Message]:
    """What a mark means, where it is used, and what is not on the picture: an empty place is no "none"."""
    if any(point.doubt for row in rows for point in row.points if axis.holds(point.at)):
        yield Message("Hollow: unreliable, the reason is in the table. ?: came without a value that can be used.")
    spans = [span for bar in drugs.on(axis, content.bars) for span in bar.spans]
    if any(span.known is drugs.Known.ORDERED for span in spans):
        yield Message("Hatched bar: ordered, not known to be taken.")
    if any(span.known is drugs.Known.UNKNOWN or None in span for span in spans):
        yield Message("Dotted bar: not known whether, or from when or until when, it was taken.")
    older = sum(point.at < axis.start for row in content.rows for point in row.points)
    if older:
        yield Message("Older results, in the table only: {count}.", count=older)
    undated = sum(lab.problem is Problem.NO_TIME for lab in case.patient.labs)
    if undated:
        yield Message("Results without a time, not drawn: {count}.", count=undated)
    if content.since and axis.holds(content.since):
        yield Message("Cards are shown from {when} on; earlier moments were not judged again.", when=content.since)
    if not case.medications_known:
        yield Message("Medications could not be read: no bar does not mean that none is taken.")


def _table(content: _Content, wording: Wording) -> Iterator[Row]:
    yield from table.results(content.rows, wording)
    yield from table.gates(content.stretches, wording)
    yield from table.drugs(content.bars, content.doses, wording)
    yield from table.cards(content.moments, wording)


def _svg(sheet: Sheet, said: str) -> str:
    """Named by its sentence; its ids follow from its content, so that several may stand on one page."""
    drawn, high = "".join(sheet.parts), sheet.y + 10
    key = sha256(f"{said}{drawn}".encode()).hexdigest()[:10]
    title = element("title", safe(said), id=f"t{key}")
    desc = element("desc", safe(sheet.wording.translate(_ORDER.template)), id=f"d{key}")
    return element(
        "svg", title + desc + drawn, viewBox=f"0 0 {sheet.width:g} {high:g}", role="img", direction="ltr",
        aria_labelledby=f"t{key} d{key}", class_="timeline", lang=sheet.wording.language,
    )  # fmt: skip


_ORDER: Final = Message(
    "From top to bottom: magnesium, potassium, calcium, kidney, heart, drugs, doses given, cards; now is at the right."
)
