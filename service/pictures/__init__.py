"""One picture of one patient: magnesium and its company over time, drugs, doses, and where cards spoke. Pure.

    picture = timeline(assessment.case, wording, moments)
    picture.svg        for a page: its ink is the page's colour of text, it needs no style, id or script of the page
    picture.alone      the same as a file of its own, light or dark as the reader has it
    table_html(picture.table, wording)    the same for a screen reader and for what there was no room for

`service/pictures/` knows a Case and a Wording; neither HTTP nor FHIR. `results` and `drugs` say what there is to draw,
`axis` how far back, `plot` draws one row, `sheet` all of them, `sentence` says it, `table` lists it.
"""

from service.pictures.sheet import Spoke
from service.pictures.table import Row, table_html
from service.pictures.timeline import NARROW, NARROWEST, WIDE, WIDEST, Timeline, timeline

__all__ = ["NARROW", "NARROWEST", "WIDE", "WIDEST", "Row", "Spoke", "Timeline", "table_html", "timeline"]
