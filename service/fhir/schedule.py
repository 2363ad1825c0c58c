"""What kind of order a medication is: given at set times, by a level (a scale), or as needed."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from service.fhir import primitives
from service.fhir.decode import concepts, is_present
from service.fhir.resources import Dosage
from service.fhir.timing import code_words, is_once, is_timed
from service.logic.model import Schedule

# "sliding scale", "electrolyte replacement protocol", "if Mg < 1.8", "при уровне магния ниже 0,7"; the "mg" of a dose
# is followed by no comparison.
_IF = r"(?:\b(?:if|when|for|bei|wenn|falls|si|при|если)|اگر|در صورت)(?:\s+(?:serum|plasma|the|уровне|уровень|سطح))*"
_LEVEL = r"(?:mg\+*|magnesium|магни[йяею]|منیزیم)(?:\s+(?:level|is|сыворотки|крови|سرم))*"
_BELOW = r"(?:<|≤|>|less than|below|under|lower than|ниже|менее|меньше|unter|kleiner|کمتر|زیر)"
_SCALE = re.compile(
    r"\bslid\w*[- ]?scale|\b(?:replacement|repletion|replenish\w*|electrolyte)\s+(?:\w+\s+){0,2}(?:protocol|scale)|"
    r"\bper (?:level|scale)\b|по шкале|протокол\w*\s+(?:замещения|восполнения|коррекции)"
    r"|پروتکل\s+جایگزینی|طبق\s+(?:پروتکل|سطح)"
    rf"|{_IF}\s+{_LEVEL}\s*{_BELOW}",
    re.IGNORECASE,
)
_AS_NEEDED = re.compile(
    r"\b(?<!not )(?:prn|p\.r\.n\.?|(?:as|if|when) (?:needed|required|necessary)|bei bedarf|si besoin|a demanda|"
    r"según necesidad|при необходимости|по необходимости|по требованию|по потребности|если (?:нужно|необходимо))\b"
    r"|در صورت (?:نیاز|لزوم)|هنگام نیاز|بر حسب نیاز",
    re.IGNORECASE,
)

_PACE = re.compile(
    r"\d\s*(?:mg|g|mL|мг|г|мл)\s*/\s*(?:min|h|hr|hour|мин|ч|час)\b"
    r"|\b(?:over|за|в течение|über|durante)\s+\d+\s*(?:-\s*\d+\s*)?(?:min|мин|h\b|hr|hour|ч\b|час)"
    r"|طی\s+\d+\s*(?:دقیقه|ساعت)",
    re.IGNORECASE,
)


class _OrderWords(NamedTuple):
    """What the words of an order say of its kind."""

    scale: bool
    as_needed: bool
    paced: bool


@lru_cache(maxsize=1024)
def _said(words: str) -> _OrderWords:
    """Kept by the text: what is written on an order recurs from call to call."""
    return _OrderWords(*(bool(pattern.search(words)) for pattern in (_SCALE, _AS_NEEDED, _PACE)))


def is_as_needed(dosage: Dosage, words: str) -> bool:
    """True if the dosage says so, in a member of its own, in its timing code or in words."""
    concept_of_need = is_present(dosage.asNeededCodeableConcept) or is_present(dosage.asNeededFor)
    if dosage.asNeededBoolean or dosage.asNeeded or concept_of_need:
        return True
    return any(_said(each).as_needed for each in (words, *code_words(dosage.timing)))


def dosage_words(dosage: Dosage) -> str:
    """All words of a dosage: its text, what is told to the patient, additional instructions."""
    more = (text for said in concepts(dosage.additionalInstruction) for text in said.texts)
    words = (primitives.text(dosage.text), primitives.text(dosage.patientInstruction), *more)
    return "; ".join(dict.fromkeys(word for word in words if word))


def kind_of_order(dosage: Dosage, words: str, untimed: Schedule) -> tuple[Schedule, bool]:
    """Schedule of a dosage, and whether it is one single dose; `words` are those of dosage and order in ASCII digits.

    `untimed` is what a product of this kind and route is where no time is stated (decision 14b).
    """
    once = is_once(dosage.timing, words)
    if _said(words).scale:
        return Schedule.SCALE, once
    if is_as_needed(dosage, words):
        return Schedule.AS_NEEDED, once
    timed = once or is_paced(dosage, words) or is_timed(dosage.timing, words)
    return Schedule.SCHEDULED if timed else untimed, once


def is_paced(dosage: Dosage, words: str) -> bool:
    """True if a rate, or how long one dose runs, is stated."""
    rated = (dosage, *(dosage.doseAndRate or ()))
    return any(each.rateRatio or each.rateQuantity or each.rateRange for each in rated) or _said(words).paced
