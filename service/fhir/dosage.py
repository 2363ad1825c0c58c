"""Dosage -> how much, how often, how fast, which way: from structure first, from text where there is none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from functools import lru_cache
from typing import Any

from service.fhir import total
from service.fhir.observation import quantity_unit
from service.fhir.wire import Resource
from service.logic.units import code as unit_code

MASS_MG = {"mg": Decimal(1), "g": Decimal(1000), "ug": Decimal("0.001"), "kg": Decimal(1_000_000)}
# Milligrams of magnesium sulfate heptahydrate (246.47 g/mol) in amounts of substance.
SULFATE_MG = {"mmol": Decimal("246.47"), "meq": Decimal("123.235")}
_MINUTES = {"s": Decimal(1) / 60, "min": Decimal(1), "h": Decimal(60), "d": Decimal(1440), "wk": Decimal(10080)}
_PER_DAY = {"min": Decimal(1440), "h": Decimal(24), "d": Decimal(1), "wk": Decimal(1) / 7, "mo": Decimal(1) / 30}

_ROUTES = (
    ("iv", re.compile(r"\b(?:iv|i\.v\.?|ivpb|intraven\w*|infusi\w*|drip|injection|injektion\w*|47625008|20045)\b|в/в|внутривен|инфузи|капельн|وریدی|تزریق", re.IGNORECASE)),
    ("oral", re.compile(r"\b(?:po|p\.o\.?|oral\w*|by mouth|per os|ng|og|sublingual|tab\w*|cap\w*|chewable|26643006|20053|418136008|127492001)\b|внутрь|перорал|таблет|капсул|خوراکی|قرص|کپسول", re.IGNORECASE)),
    ("other", re.compile(r"\b(?:im|i\.m\.?|intramusc\w*|topical|ophthalm\w*|otic|nasal|inhal\w*|rectal|enema|transdermal|subcut\w*|sc|vaginal|cream|ointment|eye drops?|irrigation|78421000|34206005)\b|внутримыш|местно|подкожн|ингаляц|глазн|عضلانی|موضعی", re.IGNORECASE)),
)  # fmt: skip
_FREQUENCY = (
    (Decimal(4), re.compile(r"\b(?:qid|q\.i\.d\.?|four times (?:a|per)? ?da(?:y|ily)|four times daily|4 ?x ?/? ?da(?:y|ily)|4 times (?:a|per)? ?day|q6h|every 6 hours)\b|4 раза в (?:день|сутки)", re.IGNORECASE)),
    (Decimal(3), re.compile(r"\b(?:tid|t\.i\.d\.?|three times (?:a|per)? ?da(?:y|ily)|three times daily|3 ?x ?/? ?da(?:y|ily)|3 times (?:a|per)? ?day|q8h|every 8 hours)\b|3 раза в (?:день|сутки)|سه بار در روز", re.IGNORECASE)),
    (Decimal(2), re.compile(r"\b(?:bid|b\.i\.d\.?|twice (?:a|per)? ?da(?:y|ily)|twice daily|2 ?x ?/? ?da(?:y|ily)|2 times (?:a|per)? ?da(?:y|ily)|q12h|every 12 hours)\b|2 раза в (?:день|сутки)|دو بار در روز", re.IGNORECASE)),
    (Decimal(1), re.compile(r"\b(?:qd|od|q24h|once (?:a|per)? ?da(?:y|ily)|once daily|daily|every day|each day|nightly|at bedtime|qhs|qam|in the morning)\b|1 раз в (?:день|сутки)|روزانه", re.IGNORECASE)),
)  # fmt: skip
_OVER = re.compile(
    r"\b(?:over|in|within|за|в течение)\s+(\d{1,4}(?:[.,]\d+)?)\s*(min|minutes?|мин\w*|h|hrs?|hours?|ч\w*)\b",
    re.IGNORECASE,
)
_AMOUNT = re.compile(
    r"(\d{1,5}(?:[.,]\d+)?)\s*(mg|g|gm|gram\w*|мг|г|mmol|ммоль|m?eq|мэкв)\b(?!\s*/\s*(?:m2|m²|kg|кг))", re.IGNORECASE
)
_RATE = re.compile(r"(\d{1,4}(?:[.,]\d+)?)\s*(mg|g|мг|г)\s*/\s*(min|h|hr|hour|мин|ч)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dosage:
    """One dosage. `amount` with `unit` (a UCUM code, or a dose form such as "tablet") is one dose."""

    amount: Decimal | None = None
    unit: str = ""
    per_day: Decimal | None = None
    minutes: Decimal | None = None
    rate_mg_min: Decimal | None = None
    route: str = ""
    text: str = ""

    @property
    def milligrams(self) -> Decimal | None:
        """One dose in milligrams of the compound, if it is stated as a mass."""
        factor = MASS_MG.get(self.unit)
        return None if self.amount is None or factor is None else self.amount * factor


def read_dosage(resource: Resource) -> Dosage:
    """The first dosage of a request, statement, dispense or administration."""
    given = _first(resource)
    words = total.text(given.get("text"))
    repeat = total.obj(total.obj(given.get("timing")).get("repeat"))
    amount, unit = _dose(given, words)
    rate, minutes = _rate(given), _duration(repeat) or _words_over(words)
    return Dosage(
        amount=amount,
        unit=unit,
        per_day=_per_day(repeat) or _words_per_day(given, words),
        minutes=minutes or _effective_minutes(resource),
        rate_mg_min=rate or _words_rate(words),
        route=route_of([given.get("route")], words),
        text=words,
    )


def stated_route(resource: Resource) -> str:
    """The route of the first dosage, coded or in its text."""
    given = _first(resource)
    return route_of([given.get("route")], total.text(given.get("text")))


def _first(resource: Resource) -> dict[str, Any]:
    listed = total.items(resource.dosageInstruction) or total.items(resource.dosage)
    return total.obj(listed[0]) if listed else {}


def route_of(concepts: list[Any], *words: str) -> str:
    """oral, iv, other or "" from coded routes first, then from words."""
    for concept in concepts:
        for coding in total.codings(concept):
            if route := _route(coding.code) or _route(coding.display):
                return route
        if route := _route(total.text(total.obj(concept).get("text"))):
            return route
    return next((route for word in words if (route := _route(word))), "")


@lru_cache(maxsize=4096)
def _route(word: str) -> str:
    return next((name for name, pattern in _ROUTES if word and pattern.search(word)), "")


def _dose(given: dict[str, Any], words: str) -> tuple[Decimal | None, str]:
    rated = total.items(given.get("doseAndRate"))
    holder = total.obj(rated[0]) if rated else given
    quantity = (
        total.obj(holder.get("doseQuantity")) or total.obj(given.get("doseQuantity")) or total.obj(given.get("dose"))
    )
    if not quantity:
        quantity = total.obj(total.obj(holder.get("doseRange")).get("high"))
    if number := total.number(quantity.get("value")):
        unit, _ = quantity_unit(quantity)
        return number, unit or _form(quantity)
    found = _AMOUNT.search(words)
    if found is None:
        return None, ""
    return total.number(found[1]), unit_code(found[2].lower().replace("gm", "g").rstrip(".")) or ""


_FORMS = re.compile(r"tab|tbl|cap|chew|sachet|piece|unit|dose|таб|капс|قرص|^1$|^$", re.IGNORECASE)


def _form(quantity: dict[str, Any]) -> str:
    spelled = total.text(quantity.get("code")) or total.text(quantity.get("unit"))
    return "tablet" if _FORMS.search(spelled) else spelled


def _per_day(repeat: dict[str, Any]) -> Decimal | None:
    frequency, period = total.number(repeat.get("frequency")), total.number(repeat.get("period"))
    per = _PER_DAY.get(total.text(repeat.get("periodUnit")))
    if frequency is None or per is None:
        return None
    return frequency * per / period if period else None


def _words_per_day(given: dict[str, Any], words: str) -> Decimal | None:
    code = total.obj(given.get("timing")).get("code")
    texts = [*(coding.code for coding in total.codings(code)), *total.concept_texts(code), words]
    return next((count for text in texts for count, pattern in _FREQUENCY if text and pattern.search(text)), None)


def _duration(repeat: dict[str, Any]) -> Decimal | None:
    number, unit = total.number(repeat.get("duration")), _MINUTES.get(total.text(repeat.get("durationUnit")))
    return number * unit if number and unit else None


def _words_over(words: str) -> Decimal | None:
    found = _OVER.search(words)
    number = total.number(found[1]) if found else None
    if found is None or number is None:
        return None
    return number if found[2].lower().startswith(("min", "мин")) else number * 60


def _effective_minutes(resource: Resource) -> Decimal | None:
    """How long an administration took."""
    if resource.resourceType != "MedicationAdministration":
        return None
    start, end = total.period(resource.effectivePeriod or resource.occurencePeriod, UTC)
    if start is None or end is None or start.date_only or end.date_only:
        return None
    minutes = Decimal((end.end - start.start).total_seconds()) / 60
    return minutes if minutes > 0 else None


def _rate(given: dict[str, Any]) -> Decimal | None:
    rated = total.items(given.get("doseAndRate"))
    holder = total.obj(rated[0]) if rated else given
    if ratio := total.obj(holder.get("rateRatio")):
        top, bottom = total.obj(ratio.get("numerator")), total.obj(ratio.get("denominator"))
        return _ratio_rate(top, bottom)
    quantity = total.obj(holder.get("rateQuantity"))
    spelled = total.text(quantity.get("code")) or total.text(quantity.get("unit"))
    number = total.number(quantity.get("value"))
    found = _RATE.fullmatch(f"{number} {spelled}") if number is not None else None
    return _mg_min(found) if found else None


def _ratio_rate(top: dict[str, Any], bottom: dict[str, Any]) -> Decimal | None:
    mass, time = total.number(top.get("value")), total.number(bottom.get("value"))
    factor = MASS_MG.get(quantity_unit(top)[0] or "")
    minutes = _MINUTES.get(total.text(bottom.get("code")) or total.text(bottom.get("unit")))
    if mass is None or not time or factor is None or minutes is None:
        return None
    return mass * factor / (time * minutes)


def _words_rate(words: str) -> Decimal | None:
    found = _RATE.search(words)
    return _mg_min(found) if found else None


def _mg_min(found: re.Match[str]) -> Decimal | None:
    number = total.number(found[1])
    if number is None:
        return None
    mass = number * (1 if found[2].lower() in {"mg", "мг"} else 1000)
    return mass if found[3].lower() in {"min", "мин"} else mass / 60
