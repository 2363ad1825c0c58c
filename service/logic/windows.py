"""How far back a result of each analyte can matter, from the windows of the knowledge as a site has set them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from types import MappingProxyType

from service.logic.knowledge import Knowledge
from service.logic.model import Analyte

# Each row is a chain: windows that are measured one from the other, so that they add up. Of several chains the longest
# counts. No chain: every result counts, however old (an earlier low magnesium, the row of creatinines).
_MG = (("mg-current-inpatient",), ("mg-current-ambulatory",))
_PAIR = (
    ("pair-inpatient",), ("pair-ambulatory",), ("refeeding-interval",), ("calcium-albumin-window",),
    *_MG,  # of the same collection as the magnesium
)  # fmt: skip
_CHAINS: Mapping[Analyte, tuple[tuple[str, ...], ...]] = MappingProxyType(
    dict.fromkeys(Analyte, _PAIR)
    | {
        Analyte.SERUM_MAGNESIUM: (),
        Analyte.CREATININE: (),
        Analyte.EGFR: (("creatinine-current-inpatient",), ("creatinine-current-ambulatory",)),
        Analyte.RBC_MAGNESIUM: (("rbc-window",),),
        Analyte.IONISED_MAGNESIUM: _MG,
        Analyte.URINE_MAGNESIUM: (*_MG, ("urine-window",)),
        Analyte.URINE_MAGNESIUM_24H: (*_MG, ("urine-window",)),
        Analyte.URINE_CREATININE: tuple((*chain, "urine-spot-pair") for chain in _MG),
        Analyte.PTH: _MG,
        Analyte.ALP: _MG,
        Analyte.WEIGHT: (("child-weight-window",),),
        Analyte.HEIGHT: (("child-height-window",),),
    }
)
DAY_WITHOUT_TIME = timedelta(days=2)
"""A day without a time counts to its end, in whatever zone."""


def look_back(knowledge: Knowledge, analytes: Iterable[Analyte] = Analyte) -> Mapping[Analyte, timedelta]:
    """How old a result may be and still be looked at beside a newer usable one; timedelta.max for no limit."""
    return MappingProxyType({analyte: _longest(_CHAINS[analyte], knowledge) for analyte in analytes})


def _longest(chains: tuple[tuple[str, ...], ...], knowledge: Knowledge) -> timedelta:
    if not chains:
        return timedelta.max
    return max(sum(map(knowledge.duration, chain), timedelta(0)) for chain in chains) + DAY_WITHOUT_TIME
