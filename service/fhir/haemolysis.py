"""Whether somebody says that a specimen is haemolysed: in words, by a code, or by a haemolysis index."""

from __future__ import annotations

import re

from service.fhir import primitives
from service.fhir.decode import cached_by_bytes, concept, concepts, decode_member
from service.fhir.resources import Measured, Quantity, ReferenceRange
from service.terminology.number_words import ascii_digits

_WORD = r"(?:ha?emoly[sz]|hämoly[st]|гемолиз|همولیز)"
_HAEMOLYSED = re.compile(_WORD, re.IGNORECASE)
_NOT_HAEMOLYSED = re.compile(
    r"(?:\b(?:no|not|non|without|nil|negative|absent|free of|keine?|ohne|без|нет|не)\b|بدون|فاقد)[^.;,]{0,25}" + _WORD
    + r"|(?:ha?emoly[sz]\w*|гемолиз\w*)[^.;,]{0,12}(?:none|nil|absent|negative|not seen|нет)",
    re.IGNORECASE,
)  # fmt: skip
_NONE = re.compile(
    r"0|-|\(-\)|нет|не обнаружен\w*|отсутств\w*|negative|neg|none|nil|absent|no|not .*|без .*", re.IGNORECASE
)
_SOME = re.compile(
    r"[1-4]?\s*\++|\+\s*[1-4]|(?:positive|pos|present|yes|trace|slight|mild|moderate|marked|severe|gross|strong|high)\b.*"
    r"|(?:слаб|умерен|выражен|сильн|есть|положит).*",
    re.IGNORECASE,
)
_ABNORMAL = {"H", "HH", "HU", "A", "AA", "POS", "HEM"}
_NORMAL = {"N", "L", "LL", "NEG"}


def says_haemolysed(words: str) -> bool:
    """True if a text states haemolysis and does not deny it."""
    return bool(_HAEMOLYSED.search(words)) and not _NOT_HAEMOLYSED.search(words)


@cached_by_bytes
def concept_says_haemolysed(raw: bytes) -> bool:
    """True if a code, a display or a text among the concepts states it."""
    found = concepts(raw)
    coded = any(coding.code.upper() == "HEM" for said in found for coding in said.codings)
    return coded or any(says_haemolysed(word) for said in found for word in said.texts)


@cached_by_bytes
def is_index(raw: bytes) -> bool:
    """True if this code is that of a haemolysis index."""
    return any(_HAEMOLYSED.search(word) for word in concept(raw).texts)


def index_says_haemolysed(index: Measured) -> bool | None:
    """What an index says by its flag, its word or its limit; None if nothing tells, since scales differ."""
    if (flagged := _flagged(index.interpretation)) is not None:
        return flagged
    words = (primitives.text(index.valueString), *concept(index.valueCodeableConcept).texts)
    if told := [said for word in words if word and (said := _told(word)) is not None]:
        return any(told)
    return _above_limit(index)


@cached_by_bytes
def _flagged(raw: bytes) -> bool | None:
    codes = {coding.code.upper() for said in concepts(raw) for coding in said.codings}
    return True if codes & _ABNORMAL else False if codes & _NORMAL else None


def _told(word: str) -> bool | None:
    word = ascii_digits(word)
    if _NONE.fullmatch(word) or _NOT_HAEMOLYSED.search(word):
        return False
    return True if _SOME.fullmatch(word) or _HAEMOLYSED.search(word) else None


def _above_limit(index: Measured) -> bool | None:
    quantity = decode_member(index.valueQuantity, Quantity)
    value = primitives.number(quantity.value if quantity else index.valueInteger)
    limits = decode_member(index.referenceRange, list[ReferenceRange]) or []
    highs = [high for limit in limits if limit.high and (high := primitives.number(limit.high.value)) is not None]
    if value is None:
        return None
    return value > max(highs) if highs else False if value == 0 else None
