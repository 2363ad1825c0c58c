"""Masks in a comment what may name somebody: long numbers, dates, record numbers, mail addresses. Names it cannot know.

>>> mask("MRN 12 345 678, born 3 March 1970, ask jane@hospital.example")
'MRN #, born #, ask #'
>>> mask("Mg 0.45 mmol/L, K 3.1; 2 g in 2 h")
'Mg 0.45 mmol/L, K 3.1; 2 g in 2 h'
"""

from __future__ import annotations

import re

HASH = "#"
_MAIL = re.compile(r"(?<!\S)\S+@\S+")
# Record, telephone and insurance numbers and full dates have six digits or more; laboratory values have not. Between
# two digits may stand a space of any width, or a sign (a dash of any length, dot, slash, colon, apostrophe, comma).
_BETWEEN = r"(?:\s?[-./:'’\u2010-\u2015\u2212]\s?|[\s,()]{1,2})"
_NUMBER = re.compile(rf"\d(?:{_BETWEEN}?\d){{5,}}")
_VALUES = re.compile(r"\d{1,3}[.,]\d{1,3}\s?[-\u2010-\u2015\u2212]\s?\d{1,3}[.,]\d{1,3}")  # 0.45–0.50
_WORD = re.compile(r"\w[\w\u2010-\u2015-]*")
_BETWEEN_DIGITS = re.compile(r"\d[^\W\d_]+-?\d")
_MONTHS = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?|январ[ьея]|феврал[ьея]|марта?|апрел[ьея]|ма[йяе]|июн[ьея]|июл[ьея]|августа?"
    "|сентябр[ьея]|октябр[ьея]|ноябр[ьея]|декабр[ьея]|فروردین|اردیبهشت|خرداد|تیر|مرداد|شهریور|مهر|آبان|آذر|دی|بهمن"
    "|اسفند|ژانویه|فوریه|مارس|آوریل|مه|ژوئن|ژوئیه|اوت|سپتامبر|اکتبر|نوامبر|دسامبر"
)
_DATE = re.compile(
    rf"\b\d{{1,2}}(?:st|nd|rd|th)?[\s.-]{{0,2}}(?:of\s)?(?:{_MONTHS})[\s.,-]{{0,2}}\d{{2,4}}\b"
    rf"|\b(?:{_MONTHS})\.?[\s-]\d{{1,2}}(?:st|nd|rd|th)?[\s,]{{1,2}}\d{{4}}\b",
    re.IGNORECASE,
)


def mask(words: str) -> str:
    """The words with `#` in place of what may name somebody; the time is linear in their length."""
    words = _MAIL.sub(HASH, words)
    words = _DATE.sub(HASH, words)
    words = _NUMBER.sub(_number, words)
    return _WORD.sub(_record, words)


def _number(found: re.Match[str]) -> str:
    return found[0] if _VALUES.fullmatch(found[0]) else HASH


def _record(found: re.Match[str]) -> str:
    """A word of letters and four digits or more names a record; a number with its unit (1000mg) does not."""
    word = found[0]
    letters = any(character.isalpha() for character in word)
    digits = sum(character.isdigit() for character in word)
    unit_behind = word[0].isdigit() and not _BETWEEN_DIGITS.search(word)
    return HASH if letters and digits >= 4 and not unit_behind else word
