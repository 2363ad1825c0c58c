"""Numbers of the knowledge in the reader's language: with their units, never without."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from service.api.pages.page import Reader
from service.logic.knowledge import Band, Interaction, Parameter
from service.logic.message import Message, Value
from service.logic.model import Dose

Ends = tuple[Decimal, Decimal]
# Units that no card writes; "" for a number that has none.
_UNITS: Mapping[str, Value] = {
    "1": "",
    "a": Message("years"),
    "d": Message("days"),
    "h": Message("h"),
    "min": Message("min"),
    "g": Message("g"),
    "mg": Message("mg"),
    "mg/kg": Message("mg/kg"),
    "mg/min": Message("mg/min"),
    "mg/(24.h)": Message("mg in 24 h"),
    "mmol/(24.h)": Message("mmol in 24 h"),
    "kg": Message("kg"),
    "cm": Message("cm"),
}


def values(parameter: Parameter, reader: Reader) -> list[str]:
    """A parameter's values, one for each unit."""
    return [
        *(_one(value, unit, reader) for unit, value in parameter.values.items()),
        *spans(parameter.interval, reader),
    ]


def spans(interval: Mapping[str, Ends], reader: Reader) -> list[str]:
    """An interval, once for each unit."""
    return [span(ends, unit, reader) for unit, ends in interval.items()]


def span(ends: Ends, unit: str, reader: Reader) -> str:
    """From one number to another; one number where they are equal."""
    low, high = ends
    if low == high:
        return _one(low, unit, reader)
    return reader.say("{low} to {high} {unit}", low=low, high=high, unit=_unit(unit))


def _one(value: Decimal, unit: str, reader: Reader) -> str:
    return reader.say("{value} {unit}", value=value, unit=_unit(unit))


def _unit(unit: str) -> Value:
    return _UNITS.get(unit, unit)


def amount(dose: Dose, reader: Reader) -> str:
    """How much, and over what time; "" for a route without an amount."""
    if dose.amount is None:
        return ""
    said = span(dose.amount, dose.unit, reader)
    return (
        reader.say("{dose} over {time}", dose=said, time=span(dose.over, dose.over_unit, reader)) if dose.over else said
    )


def age(band: Band, reader: Reader) -> str:
    """The age from which a reference range holds."""
    if band.days:
        return reader.say("from {number} days", number=band.days)
    years, months = divmod(band.months, 12)
    if months:
        return reader.say("from {number} months", number=band.months)
    return reader.say("from {number} years", number=years)


def apart(interaction: Interaction, reader: Reader) -> str:
    """How long the other drug is kept from magnesium."""
    if interaction.hours is None:
        return reader.say("not together")
    before, after = interaction.hours
    return reader.say("{before} h before or {after} h after magnesium", before=before, after=after)
