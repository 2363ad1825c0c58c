"""Whether somebody says that a specimen is haemolysed: in words, by a code, or by a haemolysis index."""

from __future__ import annotations

import re

from service.fhir import primitives
from service.fhir.decode import cached_by_bytes, concept, concepts, decode_member
from service.fhir.resources import Measured, Quantity, ReferenceRange
from service.terminology.number_words import NUMBER, ascii_digits, read_number

_WORD = r"(?:ha?emoly[szt]\w*|hämoly[st]\w*|hémoly\w*|hem[oó]li[sz]\w*|гемоли[зт]\w*|همولیز\w*|همولیتیک)"
_DISEASE = r"(?!\s*(?:ana?emia|ur[ae]?emic|disease|crisis|strepto\w*|анеми\w*|болезн\w*|uramisch|anämie))"
_HAEMOLYSED = re.compile(rf"(?<![-\w])(?:non-?)?{_WORD}(?!\w){_DISEASE}", re.IGNORECASE)
_CLAUSE = re.compile(
    r"[.;,\n!؛،]|\s[-–—]\s|(?<!\w)(?:but|however|aber|jedoch|но|однако|pero|mais|اما|ولی)(?!\w)", re.IGNORECASE
)
# What stands before the word within its clause. "Not reported due to haemolysis" affirms it.
_CAUSE = re.compile(
    r"\b(?:due to|owing to|because of|since|wegen|aufgrund|infolge|из-за|вследствие|ввиду|por|à cause)\b"
    r"|به دلیل|به علت|بخاطر",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"\b(?:no|not|non|never|without|nil|negative|absent|absence|free of|free from|denies|lacks|kein\w*|nicht|ohne|frei von|"
    r"без|нет|не|отсутств\w*|отрицательн\w*|sin|sans|pas|aucune?)\b|بدون|فاقد|عدم|\bnon-?$",
    re.IGNORECASE,
)
_IF = re.compile(r"\b(?:if|unless|wenn|falls|если|при наличии|si)\b|اگر|در صورت", re.IGNORECASE)
_DENIED_AFTER = re.compile(
    r"(?:\s*(?:index|indices|grade|degree|степень|индекс|شاخص|grad|score))?\s*(?:is|was|are|:|=|-|–|\()?\s*"
    r"(?:(?:none|no|not|nil|negative|neg|negativ|absent|free|nein|keine?|nicht|нет|не|отсутств\w*|отрицательн\w*|отриц|"
    r"ausgeschlossen|excluded|ruled out|normal|норма)(?!\w)|0+(?:[.,]0+)?(?![\d.,+])|-\s*\)?\s*$|\(-\)|"
    r"[^.;,]{0,20}(?:ندارد|نداشت|نیست|نشد|منفی|خیر|وجود نداشت))",
    re.IGNORECASE,
)
_NOT_EXCLUDED = re.compile(
    r"(?:cannot|can't|can not|could not|not) be (?:excluded|ruled out)|nicht ausgeschlossen|не исключ", re.IGNORECASE
)
_INDEX = (
    rf"(?:{_WORD}\s*[-:]?\s*(?:index|indices|индекс\w*|شاخص|score)?|(?<!\w)(?:H|HI|H-?index)(?=\s*[:=]))\s*[:=]?\s*"
)
_QUANTIFIED = re.compile(
    rf"{_INDEX}(?P<value>{NUMBER})(?P<plus>\s*\+)?(?:\s*(?:mg/dL|g/L|mg/l))?"
    rf"(?:\s*[(\[]\s*(?:ref\w*|norm\w*|limit|n|норма)?\.?\s*:?\s*(?:<=?|≤|0\s*-\s*|до|up to|bis)\s*(?P<limit>{NUMBER}))?",
    re.IGNORECASE,
)
_PLUSES = re.compile(r"(?<!\w)(?:H|HI)\s*[:=]\s*(?:[1-4]?\s*\++|\+\s*[1-4])", re.IGNORECASE)
_NONE = re.compile(
    r"0+(?:[.,]0+)?|-|\(-\)|нет|не обнаружен\w*|отсутств\w*|отриц\w*|negativ\w*|neg|none|nil|absent|no|not .*|без .*|"
    r"nein|keine?|nicht .*|ohne|ندارد|خیر|منفی|مشاهده نشد|normal|норма",
    re.IGNORECASE,
)
_SOME = re.compile(
    r"[1-4]?\s*\++|\+\s*[1-4]|(?:positive|pos|present|yes|trace|slight|mild|moderate|marked|severe|gross|strong|high)\b.*"
    r"|(?:слаб|умерен|выражен|сильн|есть|положит|да\b|ja\b|leicht|mittel|stark|deutlich|بله|دارد|مثبت|خفیف|متوسط|شدید).*",
    re.IGNORECASE,
)
_CODES = {"HEM", "118128002", "281279002"}  # HL7 v2, SNOMED CT
_ABNORMAL = {"H", "HH", "HU", "A", "AA", "POS", "HEM"}
_NORMAL = {"N", "L", "LL", "NEG"}


def says_haemolysed(words: str) -> bool | None:
    """True if a text states haemolysis, None if it gives a number without a limit, False if it denies it or is silent.

    >>> says_haemolysed("Probe nicht hämolytisch"), says_haemolysed("grossly hemolytic"), says_haemolysed("H: 12")
    (False, True, None)
    >>> says_haemolysed("not reported due to hemolysis"), says_haemolysed("no clots, slightly hemolysed")
    (True, True)
    """
    told = [_clause_says(clause) for clause in _clauses(ascii_digits(words))]
    return True if True in told else None if None in told else False


def _clauses(words: str) -> list[str]:
    """Parts of a text that are affirmed or denied on their own; a mark after the word belongs to it: "haemolysis - no"."""
    parts: list[str] = []
    begin = 0
    for mark in _CLAUSE.finditer(words):
        joins = mark[0].strip() in {"-", "–", "—"} and _HAEMOLYSED.search(words[begin : mark.start()])
        decimal = mark[0] in {".", ","} and words[mark.end() : mark.end() + 1].isdigit()
        if not joins and not decimal:
            parts.append(words[begin : mark.start()])
            begin = mark.end()
    return [*parts, words[begin:]]


def _clause_says(clause: str) -> bool | None:
    if found := _QUANTIFIED.search(clause):
        return _number_says(found)
    if _PLUSES.search(clause):
        return True
    found = _HAEMOLYSED.search(clause)
    if found is None:
        return False
    if _NOT_EXCLUDED.search(clause):
        return True
    before = clause[: found.start()].rpartition(":")[2]
    if _IF.search(before) or found[0].lower().startswith("non"):
        return False
    denied = _DENIED_BEFORE.search(before) and not _CAUSE.search(before)
    return not (denied or _DENIED_AFTER.match(clause, found.end()))


def _number_says(found: re.Match[str]) -> bool | None:
    """A grade with a plus is one; zero is none; another number is judged by its own limit only, since scales differ."""
    value = read_number(found["value"], found[0])
    limit = read_number(found["limit"], found[0]) if found["limit"] else None
    if found["plus"]:
        return bool(value)
    if limit is not None and value is not None:
        return value > limit
    return False if value == 0 else None


@cached_by_bytes
def concept_says_haemolysed(raw: bytes) -> bool:
    """True if a code, a display or a text among the concepts states it."""
    found = concepts(raw)
    coded = any(coding.code.upper() in _CODES for said in found for coding in said.codings)
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
    if _NONE.fullmatch(word):
        return False
    if _SOME.fullmatch(word):
        return True
    return says_haemolysed(word) if _HAEMOLYSED.search(word) else None


def _above_limit(index: Measured) -> bool | None:
    quantity = decode_member(index.valueQuantity, Quantity)
    value = primitives.number(quantity.value if quantity else index.valueInteger)
    limits = decode_member(index.referenceRange, list[ReferenceRange]) or []
    highs = [high for limit in limits if limit.high and (high := primitives.number(limit.high.value)) is not None]
    if value is None:
        return None
    return value > max(highs) if highs else False if value == 0 else None
