"""The job `units`: how the values of an analyte are spread, by site, code and unit, against what is possible.

A unit that is wrong in the interface makes every value wrong, and no single value shows it: 1.9 mg/dL sent as mmol/L is a
plausible toxic magnesium. Of a thousand patients the median shows it. Nothing is corrected: the report names the unit
that would fit, and people look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from math import log
from statistics import median
from typing import Any, Final, NamedTuple

import msgspec

from service.fhir import primitives
from service.fhir.decode import Concept, concept, decode_lenient, decode_member
from service.fhir.observation import meaning_of
from service.fhir.quantity import unit_of
from service.fhir.resources import Observation, Quantity, Reference
from service.logic.model import Analyte
from service.logic.units import FACTORS
from service.population.bucket import Judged
from service.population.record import Chart
from service.population.setup import Configuration, prepared
from service.terminology.analytes import LabCodes, Meaning

Json = dict[str, Any]
FEWEST: Final = 20  # values, or a median says nothing
_FAR: Final = 0.15  # of the others' median, from which a site differs


class Usual(NamedTuple):
    """The median of many patients, and between what it lies in hospitals and practices alike; canonical unit."""

    median: Decimal
    low: Decimal
    high: Decimal


def _usual(median: str, low: str, high: str) -> Usual:
    return Usual(Decimal(median), Decimal(low), Decimal(high))


# Engineering: medians of public cohorts lie well within; a wrong unit puts them well outside.
USUAL: Final[Mapping[Analyte, Usual]] = {
    Analyte.SERUM_MAGNESIUM: _usual("0.82", "0.66", "1.05"),
    Analyte.RBC_MAGNESIUM: _usual("2.0", "1.4", "2.8"),
    Analyte.IONISED_MAGNESIUM: _usual("0.54", "0.42", "0.70"),
    Analyte.CALCIUM: _usual("2.20", "1.85", "2.55"),
    Analyte.IONISED_CALCIUM: _usual("1.15", "0.95", "1.35"),
    Analyte.POTASSIUM: _usual("4.1", "3.4", "4.9"),
    Analyte.CREATININE: _usual("88", "45", "230"),
    Analyte.ALBUMIN: _usual("34", "20", "50"),
    Analyte.PHOSPHATE: _usual("1.1", "0.7", "1.8"),
}


# ---- one patient ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Options:
    """Whose codes are read; can be sent to another process."""

    configuration: Configuration


class _Source(msgspec.Struct):
    source: str | None = None


class _Place(msgspec.Struct, rename="camel"):
    """Of a resource what tells the site."""

    resource_type: str | None = None
    id: str | None = None
    meta: _Source | None = None
    performer: list[Reference] | None = None
    service_provider: Reference | None = None
    managing_organization: Reference | None = None
    encounter: Reference | None = None


def audit(chart: Chart, options: Options) -> Judged:
    """How often each value of each site, code and unit was reported of one patient."""
    codes = prepared(options.configuration).site.codes
    counts: Json = {}
    places = [(source, decode_lenient(source.content, _Place) or _Place()) for source in chart.own]
    providers = _providers(place for _, place in places)
    for source, place in places:
        if place.resource_type == "Observation":
            for resource in source.read():
                if isinstance(resource, Observation):
                    _count(resource, _site(place, providers), codes, counts)
    return Judged((), {"values": counts})


def _providers(places: Iterator[_Place]) -> dict[str, str]:
    """Who is responsible for each encounter, and for the patient (under "")."""
    found = {}
    for place in places:
        named = place.service_provider or place.managing_organization
        if named and named.reference:
            found[f"Encounter/{place.id}" if place.resource_type == "Encounter" else ""] = named.reference
    return found


def _site(place: _Place, providers: Mapping[str, str]) -> str:
    """The laboratory if it is named, else who is responsible for the encounter or the patient, else the source."""
    performers = [who.reference for who in place.performer or () if who.reference and "Organization/" in who.reference]
    encounter = primitives.local_reference(place.encounter.reference or "") if place.encounter else ""
    known = performers[0] if performers else providers.get(encounter) or providers.get("")
    return known or (place.meta.source if place.meta else None) or ""


def _count(resource: Observation, site: str, codes: LabCodes, counts: Json) -> None:
    meaning = meaning_of(resource.code, codes)
    quantity = decode_member(resource.valueQuantity, Quantity)
    if not isinstance(meaning, Meaning) or meaning.analyte not in USUAL or quantity is None or quantity.value is None:
        return
    unit, _ = unit_of(quantity)
    spelled = unit or f"? {quantity.unit or quantity.code or ''}".strip()
    place = counts.setdefault(meaning.analyte.value, {}).setdefault(site, {})
    values = place.setdefault(_code(concept(resource.code)), {}).setdefault(spelled, {})
    value = f"{quantity.value:.3g}"
    values[value] = values.get(value, 0) + 1


def _code(found: Concept) -> str:
    coded = next((f"{coding.system}|{coding.code}" for coding in found.codings if coding.code), "")
    return coded or found.text


# ---- all of them ---------------------------------------------------------------------------------------------------


class Spread(msgspec.Struct, rename="camel", omit_defaults=True):
    """How the values of one site, code and unit are spread, and what is odd about it."""

    analyte: str
    site: str
    code: str
    unit: str
    values: int
    lowest: float
    p10: float
    median: float
    p90: float
    highest: float
    verdict: str = ""
    fits: str = ""  # a unit in which the median would be usual


def spreads(counts: Json) -> list[Spread]:
    """Everything that was counted, with a verdict where the values cannot be what they say."""
    found = [
        _spread(analyte, site, code, unit, values)
        for analyte, sites in sorted(counts.items())
        for site, codes in sorted(sites.items())
        for code, units in sorted(codes.items())
        for unit, values in sorted(units.items())
    ]
    for _, alike in groupby(sorted(found, key=_kind), key=_kind):
        _compare(list(alike))
    return found


def _kind(one: Spread) -> tuple[str, str]:
    return one.analyte, one.unit


def _spread(analyte: str, site: str, code: str, unit: str, values: Mapping[str, int]) -> Spread:
    whole = sum(values.values())
    ordered = sorted((float(value), number) for value, number in values.items())

    def at(share: float) -> float:
        reached = 0
        for value, number in ordered:
            reached += number
            if reached >= share * whole:
                return value
        return ordered[-1][0]

    spread = Spread(analyte, site, code, unit, whole, ordered[0][0], at(0.1), at(0.5), at(0.9), ordered[-1][0])
    spread.verdict, spread.fits = _verdict(spread)
    return spread


def _verdict(spread: Spread) -> tuple[str, str]:
    """Why the values cannot be in this unit, and the one that would fit; nothing for too few values."""
    analyte = Analyte(spread.analyte)
    if spread.unit not in FACTORS[analyte]:
        return "no unit that is known: none of these values is read", ""
    if spread.values < FEWEST or _is_usual(spread.median, spread.unit, analyte):
        return "", ""
    others = [unit for unit in FACTORS[analyte] if unit != spread.unit and _is_usual(spread.median, unit, analyte)]
    best = min(others, key=lambda unit: _distance(spread.median, unit, analyte), default="")
    said = f"the median {spread.median:g} is not possible in {spread.unit}"
    return (f"{said}; it would be usual in {best}", best) if best else (said, "")


def _is_usual(value: float, unit: str, analyte: Analyte) -> bool:
    usual = USUAL[analyte]
    return usual.low <= Decimal(str(value)) * FACTORS[analyte][unit] <= usual.high


def _distance(value: float, unit: str, analyte: Analyte) -> float:
    """How far from the usual median, as a ratio."""
    converted = float(Decimal(str(value)) * FACTORS[analyte][unit])
    return abs(log(converted / float(USUAL[analyte].median))) if converted > 0 else float("inf")


def _compare(alike: list[Spread]) -> None:
    """Of an analyte in one unit the sites whose median is far from that of the others."""
    enough = [one for one in alike if one.values >= FEWEST]
    for one in enough:
        others = [other.median for other in enough if other.site != one.site]
        if one.verdict or len(others) < 2:
            continue
        usual = median(others)
        if usual and abs(one.median / usual - 1) > _FAR:
            one.verdict = f"the median {one.median:g} differs from {usual:g} at {len(others)} other places"
            one.fits = _unit_like(one, usual)


def _unit_like(one: Spread, usual: float) -> str:
    """A unit in which the values would be like those of the others, if there is one."""
    analyte = Analyte(one.analyte)
    wanted = usual * float(FACTORS[analyte][one.unit])
    near = {u: abs(one.median * float(factor) / wanted - 1) for u, factor in FACTORS[analyte].items() if u != one.unit}
    best = min(near, key=lambda unit: near[unit], default="")
    return best if best and near[best] < _FAR else ""
