"""The timeline of an example card, drawn only once it is known that the example stays."""

from __future__ import annotations

from typing import Final

from service.cds.i18n import Wording
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import Site, read_snapshot
from service.logic.case import Case
from service.pictures import Spoke, timeline

WIDTH: Final = 440  # beside a card


class Picture:
    """A chart at the moment of a card, and the cards shown until then. No dataclass: an encoder would take it apart."""

    def __init__(self, chart: EvaluationInput, site: Site, wording: Wording, spoke: tuple[Spoke, ...]) -> None:
        self.chart, self.site, self.wording, self.spoke = chart, site, wording, spoke

    def drawn(self) -> str:
        """As SVG for a page; "" if it cannot be drawn."""
        try:
            patient = read_snapshot(self.chart, self.site, explain=True)  # all results, not only those the rules need
            return timeline(Case(patient, self.site.knowledge), self.wording, self.spoke, WIDTH).svg
        except Exception:  # noqa: BLE001  hours of work must not be lost to one picture
            return ""


def as_json(value: object) -> str:
    """A picture where numbers are written; TypeError for what is none."""
    if isinstance(value, Picture):
        return value.drawn()
    raise TypeError(type(value).__name__)
