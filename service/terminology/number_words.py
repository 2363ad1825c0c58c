"""Numbers in words: which separator is a decimal one, which stands between thousands; what can be either is no number.

All texts are read here, whatever they are: results, ranges, doses, strengths, rates, dialysates.
"""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

_DIGITS = {zero + digit: str(digit) for zero in (0x660, 0x6F0) for digit in range(10)}  # Arabic, Persian
_MARKS: dict[int, str | None] = {0x200E: None, 0x200F: None, 0x061C: None}  # direction marks that come with them
_FRACTIONS: dict[int, str] = {ord("½"): ".5", ord("¼"): ".25", ord("¾"): ".75"}
_ASCII: dict[int, str | None] = {**_DIGITS, **_MARKS, **_FRACTIONS, ord("،"): ",", 0xFF0C: ",", 0xFF0E: "."}

_POINT = "٫·"  # only ever before decimals
_BETWEEN = "٬'’\u00a0\u202f\u2009"  # only ever between thousands
_EITHER = ".,"
_SEPARATOR = rf"[{_EITHER}{_POINT}{_BETWEEN}]"
NUMBER = (
    rf"(?<!\d)(?<!\d{_SEPARATOR})"
    rf"(?:(?<!\w)\d{{1,3}}(?: \d{{3}})+(?!\d)(?:[{_EITHER}{_POINT}]\d+)?"
    rf"|(?:(?<!\w)[{_EITHER}{_POINT}])?\d+(?:{_SEPARATOR}\d+)*)"
)
"""The pattern of a number in a text of ASCII digits; what it matches is given to `read_number`."""
_GROUPED = re.compile(rf"\d{{1,3}}(?:[{_BETWEEN} ]\d{{3}})+(?:[{_EITHER}{_POINT}]\d+)?")
_LONGEST = 40  # characters of a number

# Words that only English has; a comma before three digits is read as one between thousands only beside them.
_ENGLISH = re.compile(
    r"\b(?:the|of|over|every|each|daily|twice|once|hours?|hrs?|hourly|minutes?|times|day|days|week|weekly|tablets?|tabs?|"
    r"mouth|take|give|given|infuse|bedtime|needed|then|with|water|sterile|rate|bag|vial|dose|doses|syringe|powder|"
    r"oxide|chloride|hydroxide|sulph?ate|sulfate|citrate|gluconate|glycinate|carbonate|level|normal|range)\b",
    re.IGNORECASE,
)
_NOT_ENGLISH = re.compile(
    r"[^\W\d_a-zA-Zµμ™®]|\b(?:de|del|la|el|las|los|le|les|du|des|une|deux|trois|jour|jours|fois|par|et|avec|comprim\w*|"
    r"und|mit|ohne|oder|je|tag|tage|tgl|stunden?|std|tabletten?|kapseln?|beutel|morgens|abends|mittags|alle|mal|"
    r"cada|horas?|dia|dias|por|con|una|dos|tres|veces|ogni|ore|giorno|volte|compress\w*|sulfat|oxid|chlorid|citrat|"
    r"magnesio|magnesiumoxid|magnesiumsulfat|magnesiumcitrat)\b",
    re.IGNORECASE,
)


def ascii_digits(text: str) -> str:
    """The same text with the digits 0 to 9, vulgar fractions as decimals, the commas of all scripts as one.

    >>> ascii_digits("۱٬۰۰۰ mg, ½")
    '1٬000 mg, .5'
    """
    return text if text.isascii() else text.translate(_ASCII)


def read_number(number: str, text: str = "") -> Decimal | None:
    """The value of a number in words, as `NUMBER` finds it in `text`; None if it can be read in two ways, or in none.

    One comma before exactly three digits stands between thousands in an English text; otherwise three digits after one
    separator are ambiguous, unless the number begins with 0.

    >>> read_number("0,125"), read_number("1,26"), read_number("1.234,5")
    (Decimal('0.125'), Decimal('1.26'), Decimal('1234.5'))
    >>> read_number("1,200", "1,200 mg three times daily"), read_number("1,200", "1,200 mg"), read_number("1.200")
    (Decimal('1200'), None, None)
    """
    if len(number) > _LONGEST:
        return None
    whole = _ungrouped(number)
    if whole is None:
        return None
    plain, grouped = whole
    marks = [letter for letter in plain if not letter.isdigit()]
    if not marks:
        return Decimal(plain)
    if len(marks) == 1:
        return _one_mark(plain, marks[0], text, certain=grouped)
    return _several_marks(plain, marks)


def is_ambiguous(number: str, text: str = "") -> bool:
    """True for a number that can be read in two ways or in none."""
    return read_number(number, text) is None


def _ungrouped(number: str) -> tuple[str, bool] | None:
    """Without what only ever stands between thousands, and whether any did; None if its groups are none.

    Blanks group only where a group begins with 0 ("10 000"): "2 400 mg" may be two tablets of 400.
    """
    separators = {letter for letter in number if letter in _BETWEEN + " "}
    if not separators:
        return number, False
    if not _GROUPED.fullmatch(number) or len(separators) > 1:
        return None
    if " " in separators and not any(group.startswith("0") for group in number.split(" ")[1:]):
        return None
    return number.replace(separators.pop(), ""), True


def _one_mark(number: str, mark: str, text: str, *, certain: bool) -> Decimal | None:
    whole, _, part = number.partition(mark)
    decimal = Decimal(f"{whole or 0}.{part}")
    if certain or mark in _POINT or len(part) != 3 or len(whole) > 3 or not whole or not int(whole):
        return decimal
    return Decimal(whole + part) if mark == "," and _is_english(text) else None


def _several_marks(number: str, marks: list[str]) -> Decimal | None:
    """ "1,000,000" or "1.234,5": groups of three with one separator, decimals after another."""
    last = marks[-1]
    separators = set(marks[:-1])
    if len(separators) > 1 or separators & set(_POINT):
        return None
    between = separators.pop()
    whole, part = (number, "") if between == last else number.rsplit(last, 1)
    groups = whole.split(between)
    if not 1 <= len(groups[0]) <= 3 or any(len(group) != 3 for group in groups[1:]):
        return None
    return Decimal("".join(groups) + (f".{part}" if part else ""))


@lru_cache(maxsize=2048)
def _is_english(text: str) -> bool:
    return bool(_ENGLISH.search(text)) and not _NOT_ENGLISH.search(text)
