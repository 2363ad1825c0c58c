"""The picture as a table: for a screen reader, for print, and for what the picture has no room for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from service.cds.i18n import Wording
from service.logic.message import Message
from service.pictures.drugs import Bar, Dose
from service.pictures.plot import when
from service.pictures.results import Series, Stretch, range_words
from service.pictures.sheet import KINDS, LEVELS, Spoke, drug_name, gate_state, span_words
from service.pictures.svg import element, safe

HEAD: Final = (Message("What"), Message("When"), Message("Value"), Message("Range in force"), Message("Remark"))


class Row(NamedTuple):
    """One line, in the reader's language; "" where there is nothing to say."""

    what: str
    when: str
    value: str = ""
    range: str = ""
    remark: str = ""


def results(rows: Iterable[Series], wording: Wording) -> Iterator[Row]:
    """Every result, newest first, on the picture or before it."""
    for row in rows:
        for point in reversed(row.points):
            yield Row(
                wording.plain(row.title),
                when(point, wording),
                wording.plain(point.amount),
                wording.plain(range_words(point)) if point.limits else "",
                wording.plain(point.doubt) if point.doubt else "",
            )


def gates(stretches: Sequence[Stretch], wording: Wording) -> Iterator[Row]:
    """The kidney gate, newest first."""
    for stretch in reversed(stretches):
        ends = wording.translate("now") if stretch.begins == stretch.ends else wording.moment(stretch.ends)
        span = ends if stretch.begins == stretch.ends else f"{wording.moment(stretch.begins)} – {ends}"
        yield Row(wording.translate("kidney gate"), span, wording.translate(gate_state(stretch.gate)))


def drugs(bars: Iterable[Bar], doses: Sequence[Dose], wording: Wording) -> Iterator[Row]:
    """Drugs by what they do, then magnesium given, newest first."""
    for bar in bars:
        for span in bar.spans:
            yield Row(drug_name(bar, wording), span_words(span, wording), remark=wording.plain(KINDS[bar.kind]))
    for dose in reversed(doses):
        named = wording.plain(Message("{drug}", drug=dose.name))
        amount = wording.plain(dose.amount) if dose.amount else wording.translate("dose not stated")
        yield Row(named, _span(dose.begun, dose.ended, wording), amount, remark=wording.translate("magnesium given"))


def _span(begun: datetime, ended: datetime, wording: Wording) -> str:
    return wording.moment(ended) if begun == ended else f"{wording.moment(begun)} – {wording.moment(ended)}"


def cards(moments: Sequence[Spoke], wording: Wording) -> Iterator[Row]:
    """What cards said, newest first."""
    for moment in reversed(moments):
        level = wording.plain(LEVELS[moment.indicator])
        yield Row(wording.translate("card"), wording.moment(moment.at), level, remark=moment.words)


def table_html(rows: Sequence[Row], wording: Wording, caption: str = "") -> str:
    """A table for a page; every cell is escaped."""
    head = "".join(element("th", safe(wording.plain(title)), scope="col") for title in HEAD)
    body = "".join(element("tr", _cells(row)) for row in rows)
    told = element("caption", safe(caption)) if caption else ""
    return element(
        "table",
        f"{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>",
        class_="timeline",
        lang=wording.language,
        dir="rtl" if wording.language == "fa" else "ltr",
    )


def _cells(row: Row) -> str:
    what, *rest = (safe(cell) for cell in row)
    return f'<th scope="row">{what}</th>' + "".join(f"<td>{cell}</td>" for cell in rest)
