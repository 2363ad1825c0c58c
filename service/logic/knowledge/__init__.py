"""The catalogue as data, each row with its source: limits, windows, doses, reference ranges, interactions, rules."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from service.logic.model import Analyte, Citation, Dose
from service.logic.units import limit_in

VERSION = "2026.12.0"  # of the clinical content; a change of any number or rule raises it
FINGERPRINT = "4581ebf93253c0bc"  # of the TOML files of this version; a test compares them
CHECKED_ON = "2026-11-30"  # the day on which every row was last held against its source


@dataclass(frozen=True, slots=True)
class Reference:
    """A source: what it is, where it is, and what a reader should know about its author's position.

    `label` is the short name for a card's source line; `link` says what `url` opens, where that is not the source itself,
    or why there is none.
    """

    id: str
    title: str
    kind: str
    label: str = ""
    url: str = ""
    link: str = ""
    interest: str = ""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One number (or interval) with its meaning and source. `values` and `interval` are keyed by UCUM unit."""

    id: str
    meaning: str
    citations: tuple[Citation, ...]
    values: Mapping[str, Decimal]
    interval: Mapping[str, tuple[Decimal, Decimal]]
    note: str = ""
    site_bounds: tuple[Decimal, Decimal] | None = None
    changed_by_site: bool = False

    @property
    def first(self) -> Decimal:
        """The value in the unit that stands first."""
        return next(iter(self.values.values()))


@dataclass(frozen=True, slots=True)
class Band:
    """A reference range of serum magnesium from an age on; `months` or `days` of age, lower edge inclusive."""

    days: int
    months: int
    interval: Mapping[str, tuple[Decimal, Decimal]]
    citation: Citation


@dataclass(frozen=True, slots=True)
class Interaction:
    """Oral magnesium against another oral drug. `hours`: keep the other drug this long before and after magnesium."""

    id: str
    classes: frozenset[str]
    ingredients: frozenset[str]
    exceptions: frozenset[str]
    hours: tuple[int, int] | None
    other_time_of_day: bool
    only_with: str
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """What the catalogue says of one rule: the functions in `logic/rules/` decide, this explains and cites.

    `parameters` names what decides the rule or is stated on its card: an id of parameters.toml, "dose:" and an id of
    doses.toml, "profile" (the reference ranges) or "interactions". `statements` are ids of docs/statements.md.

    How the rule appears: `override` are codes of override reasons; of the gravest findings that with the lowest `lead`
    (not 0) is the headline; `quoted`: an order card quotes it; `doubts`: it replaces the card on the level ("unusable":
    only where the level cannot be used); `emergency`: it stands beside a doubtful level; `covered_by`: where one of
    these leads, its headline says this one's already; `aside`: as context it stands behind no card;
    `repeat_days` is the rule's own interval of the repeat guard, 0 for the interval of its level.
    """

    id: str
    title: str
    question: str
    inputs: tuple[str, ...]
    condition: str
    parameters: tuple[str, ...]
    citations: tuple[Citation, ...]
    suggests: str = ""
    guards: str = ""
    limits: str = ""
    statements: tuple[str, ...] = ()
    override: tuple[str, ...] = ()
    lead: int = 0
    quoted: bool = False
    doubts: str = ""
    emergency: bool = False
    covered_by: tuple[str, ...] = ()
    aside: bool = False
    repeat_days: int = 0


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All of it. `profiles` maps a profile's name to its bands, youngest first."""

    parameters: Mapping[str, Parameter]
    doses: Mapping[str, Dose]
    references: Mapping[str, Reference]
    profiles: Mapping[str, tuple[Band, ...]]
    interactions: tuple[Interaction, ...]
    rules: Mapping[str, RuleEntry]

    def value(self, parameter: str) -> Decimal:
        """A parameter's value in its first unit."""
        return self.parameters[parameter].first

    def duration(self, parameter: str) -> timedelta:
        """A time parameter."""
        return _span(self.parameters[parameter])

    def limit(self, parameter: str, unit: str, analyte: Analyte) -> Decimal:
        """A limit in the unit of a result: as published for that unit, else converted and rounded."""
        return _in_unit(self.parameters[parameter].values, unit, analyte)

    def interval(self, parameter: str, unit: str, analyte: Analyte) -> tuple[Decimal, Decimal]:
        """An interval in the unit of a result."""
        return interval_in(self.parameters[parameter].interval, unit, analyte)

    def with_values(self, changes: Mapping[str, Decimal]) -> Knowledge:
        """A site's own values (in each parameter's first unit; the other units follow by conversion)."""
        changed = {key: _changed(self.parameters[key], value) for key, value in changes.items()}
        return replace(self, parameters=MappingProxyType(dict(self.parameters) | changed))


@lru_cache(maxsize=256)
def _span_of(unit: str, value: Decimal) -> timedelta:
    return timedelta(seconds=int(value * {"min": 60, "h": 3600, "d": 86400}[unit]))


def _span(parameter: Parameter) -> timedelta:
    return _span_of(*next(iter(parameter.values.items())))


def interval_in(
    interval: Mapping[str, tuple[Decimal, Decimal]], unit: str, analyte: Analyte
) -> tuple[Decimal, Decimal]:
    """Both ends of an interval in the unit of a result."""
    if unit in interval:
        return interval[unit]
    if unit == "mg/L" and "mg/dL" in interval:
        low, high = interval["mg/dL"]
        return low * 10, high * 10
    given, (low, high) = next(iter(interval.items()))
    return limit_in(low, given, unit, analyte), limit_in(high, given, unit, analyte)


def _in_unit(values: Mapping[str, Decimal], unit: str, analyte: Analyte) -> Decimal:
    if unit in values:
        return values[unit]
    if unit == "mg/L" and "mg/dL" in values:
        return values["mg/dL"] * 10
    given, value = next(iter(values.items()))
    return limit_in(value, given, unit, analyte)


def _changed(parameter: Parameter, value: Decimal) -> Parameter:
    unit = next(iter(parameter.values))
    return replace(parameter, values=MappingProxyType({unit: value}), changed_by_site=True)


@cache
def load() -> Knowledge:
    """The shipped knowledge; read once. ValueError if a row of rules.toml names what does not exist."""
    known = Knowledge(
        parameters=_table("parameters", _parameter),
        doses=_table("doses", _dose),
        references=_table("references", lambda key, row: Reference(id=key, **row)),
        profiles=_table("profiles", lambda _, rows: tuple(_band(row) for row in rows)),
        interactions=tuple(_table("interactions", _interaction).values()),
        rules=_table("rules", _rule),
    )
    if unknown := [name for entry in known.rules.values() for name in _unknown_names(entry, known)]:
        raise ValueError("rules.toml: " + "; ".join(unknown))
    return known


def _table(name: str, build: Any) -> Mapping[str, Any]:
    text = files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text, parse_float=Decimal)
    return MappingProxyType({key: build(key, row) for key, row in rows.items()})


def _citations(pairs: list[list[str]]) -> tuple[Citation, ...]:
    return tuple(Citation(source, at) for source, at in pairs)


def _pair(ends: list[Any]) -> tuple[Decimal, Decimal]:
    low, high = ends
    return Decimal(low), Decimal(high)


def _parameter(key: str, row: dict[str, Any]) -> Parameter:
    return Parameter(
        id=key,
        meaning=row["meaning"],
        citations=_citations(row["cite"]),
        values=MappingProxyType({unit: Decimal(value) for unit, value in row.get("values", {}).items()}),
        interval=MappingProxyType({unit: _pair(ends) for unit, ends in row.get("range", {}).items()}),
        note=row.get("note", ""),
        site_bounds=_pair(row["site"]) if "site" in row else None,
    )


def _dose(key: str, row: dict[str, Any]) -> Dose:
    return Dose(
        id=key,
        meaning=row["meaning"],
        kidney=frozenset(row["kidney"]),
        ages=frozenset(row["ages"]),
        pregnancy=row["pregnancy"],
        citations=_citations(row["cite"]),
        amount=_pair(row["amount"]) if "amount" in row else None,
        unit=row.get("unit", ""),
        over=_pair(row["over"]) if "over" in row else None,
        over_unit=row.get("over_unit", ""),
        first_bolus=row.get("first_bolus", False),
        below_mg_dl=row.get("below_mg_dl"),
        note=row.get("note", ""),
    )


def _band(row: dict[str, Any]) -> Band:
    number, unit = re.fullmatch(r"P(\d+)([DMY])", row["from"]).groups()  # type: ignore[union-attr]
    months = int(number) * {"D": 0, "M": 1, "Y": 12}[unit]
    return Band(
        days=int(number) if unit == "D" else 0,
        months=months,
        interval=MappingProxyType({unit: _pair(ends) for unit, ends in row["range"].items()}),
        citation=Citation(*row["cite"]),
    )


def _interaction(key: str, row: dict[str, Any]) -> Interaction:
    hours = row.get("hours")
    return Interaction(
        id=key,
        classes=frozenset(row.get("classes", ())),
        ingredients=frozenset(row.get("ingredients", ())),
        exceptions=frozenset(row.get("except", ())),
        hours=(hours[0], hours[1]) if hours else None,
        other_time_of_day=row.get("other_time_of_day", False),
        only_with=row.get("only_with", ""),
        citations=_citations(row["cite"]),
    )


_RULE_KEYS = {field.name for field in fields(RuleEntry)} - {"id", "citations"} | {"cite"}


def _rule(key: str, row: dict[str, Any]) -> RuleEntry:
    if unknown := row.keys() - _RULE_KEYS:
        raise ValueError(f"rules.toml: {key} has unknown keys: {', '.join(sorted(unknown))}")
    return RuleEntry(
        id=key,
        title=row["title"],
        question=row["question"],
        inputs=tuple(row["inputs"]),
        condition=row["condition"],
        parameters=tuple(row["parameters"]),
        citations=_citations(row["cite"]),
        suggests=row.get("suggests", ""),
        guards=row.get("guards", ""),
        limits=row.get("limits", ""),
        statements=tuple(row.get("statements", ())),
        override=tuple(row.get("override", ())),
        lead=row.get("lead", 0),
        quoted=row.get("quoted", False),
        doubts=row.get("doubts", ""),
        emergency=row.get("emergency", False),
        covered_by=tuple(row.get("covered_by", ())),
        aside=row.get("aside", False),
        repeat_days=row.get("repeat_days", 0),
    )


def _unknown_names(entry: RuleEntry, known: Knowledge) -> Iterator[str]:
    """What an entry names that does not exist, in words; a rule without a citation counts too."""
    tables = {"profile", "interactions"} | known.parameters.keys() | {f"dose:{dose}" for dose in known.doses}
    yield from (f"{entry.id} names no parameter {name}" for name in entry.parameters if name not in tables)
    cited = [citation.source for citation in entry.citations]
    yield from (f"{entry.id} cites no reference {name}" for name in cited if name not in known.references)
    if not cited:
        yield f"{entry.id} cites nothing"
