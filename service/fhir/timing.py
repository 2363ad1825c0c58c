"""Timing and its words -> how often a day, whether only once, whether any time is stated at all."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import lru_cache

from service.fhir import primitives
from service.fhir.decode import concept
from service.fhir.resources import Repeat, Timing

_PER_DAY = {"min": Decimal(1440), "h": Decimal(24), "d": Decimal(1), "wk": Decimal(1) / 7, "mo": Decimal(1) / 30}

_NUMBERS = {
    "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eins": 1, "zwei": 2, "drei": 3, "vier": 4,
    "una": 1, "dos": 2, "tres": 3, "cuatro": 4, "une": 1, "deux": 2, "trois": 3, "один": 1, "два": 2, "три": 3,
    "четыре": 4, "یک": 1, "دو": 2, "سه": 3, "چهار": 4,
}  # fmt: skip
_NUMBER = rf"(?<![\d.,\w])(\d{{1,2}}|{'|'.join(_NUMBERS)})"
_DAY = r"(?:day|daily|d|tag|täglich|día|dia|jour|день|дня|сутки|сут|روز)\b"
_TIMES = r"(?:x|×|times?|mal|veces|vez|fois|раза?|р\.?|بار|نوبت)"
# "3 times a day", "three times daily", "3 x daily", "4 раза в сутки", "سه بار در روز", "روزی سه بار".
_TIMES_A_DAY = re.compile(
    rf"{_NUMBER}\s*(?:{_TIMES}\s*[/.]?\s*(?:(?:an?|per|each|every|pro|am|al|por|par|в|در)\s+)?"
    rf"|(?:doses?\s+)?(?:per|/)\s*){_DAY}|روزی\s+{_NUMBER}\s*(?:بار|نوبت)",
    re.IGNORECASE,
)
# "q6h", "every 6 hours", "alle 8 Stunden", "каждые 8 часов", "هر ۸ ساعت".
_EVERY_HOURS = re.compile(
    r"(?:\bq\.?\s*|\b(?:every|each|alle|cada|toutes\s+les|кажды[ей])\s+|هر\s*)(\d{1,3})\s*-?\s*"
    r"(?:h\b|hrs?\b|hours?\b|hourly\b|std\b|stunden\b|horas\b|heures\b|ч\b|час\w*|ساعت)",
    re.IGNORECASE,
)
_DAILY = (
    r"\b(?:qd|od|once (?:an? |per )?da(?:y|ily)|daily|every day|each day|nightly|at bedtime|qhs|hs|qam|qpm|"
    r"(?:in the|every|each) (?:morning|evening)|täglich|diari[ao]|une fois par jour|"
    r"ежедневно|на ночь|утром|вечером|раз в (?:день|сутки))\b|روزانه|هر روز"
)
_FREQUENCY = tuple(
    (count, re.compile(words, re.IGNORECASE))
    for count, words in (
        (Decimal(4), r"\b(?:qid|q\.i\.d\.?)\b"),
        (Decimal(3), r"\b(?:tid|t\.i\.d\.?|thrice daily|dreimal täglich|трижды в (?:день|сутки))\b"),
        (Decimal(2), r"\b(?:bid|b\.i\.d\.?|twice (?:a |per )?da(?:y|ily)|zweimal täglich|дважды в (?:день|сутки))\b"),
        (Decimal("0.5"), r"\b(?:qod|every other day|alternate days|через день)\b|یک روز در میان"),
        (Decimal(1) / 7, r"\b(?:once (?:an? |per |every )?week(?:ly)?|every week|weekly|раз в неделю)\b|هفتگی"),
        (Decimal(1), _DAILY),
    )
)
_ONCE = re.compile(
    r"\b(?:1x|x ?1|one[- ]time|single dose|one dose|dosis única|dose unique|einmalig|stat|now|"
    r"once(?!\s*[-/]?\s*(?:an?|per|every|each|daily|weekly|monthly|nightly|at|in|on|q\d+\w*|days?|weeks?|months?)\b))\b"
    r"|однократн|разовая доза|تک دوز|یک دوز|(?:یک بار|یکبار|один раз|1 раз)(?!\s*(?:در|в|هر))",
    re.IGNORECASE,
)
_MOST = re.compile(
    r"\b(?:max(?:imum|\.)?(?: of)?|up to|at most|no more than|not (?:to exceed|more than)|höchstens|maximal|máximo)\b"
    r"|не (?:более|больше)|максимум|до\s+(?=\d)|حداکثر|تا\s+(?=\d)",
    re.IGNORECASE,
)
# Codes that stand where a time belongs and state none.
_NO_TIME = re.compile(r"as ?dir\w*|as directed|ut dict\.?|on call|unknown|other|prn|see \w+|", re.IGNORECASE)


def doses_per_day(timing: Timing | None, in_words: Decimal | None) -> Decimal | None:
    """How many doses a day at most: by structure, by the timing's code, else as its text says (`in_words`)."""
    repeat = timing.repeat if timing else None
    return _per_day(repeat) or _frequency_in(code_words(timing)) or in_words or _once_each_time(repeat)


def is_once(timing: Timing | None, words: str) -> bool:
    """True for one single dose: a count of 1, one point in time, or "once" without a frequency."""
    timing = timing or Timing()
    repeat = timing.repeat or Repeat()
    if primitives.number(repeat.countMax or repeat.count) == 1:
        return True
    if any((repeat.frequency, repeat.period, repeat.timeOfDay, repeat.when)):
        return False
    if len(timing.event or ()) == 1:
        return True
    texts = [*code_words(timing), words]
    return any(_ONCE.search(text) for text in texts) and not _frequency_in(texts)


def is_timed(timing: Timing | None, words: str) -> bool:
    """True if a frequency, a period, times, a duration of the dose, a count or "once" is stated, coded or in words."""
    repeat = (timing.repeat if timing else None) or Repeat()
    stated = (
        repeat.frequency, repeat.frequencyMax, repeat.period, repeat.timeOfDay, repeat.when, repeat.dayOfWeek,
        repeat.duration, repeat.count, timing.event if timing else None,
    )  # fmt: skip
    coded = any(not _NO_TIME.fullmatch(word.strip()) for word in code_words(timing))
    return any(stated) or coded or _frequency_in([words]) is not None or is_once(timing, words)


def doses_in_words(words: str) -> Decimal | None:
    """How many doses a day a text states."""
    return _frequency_in([words])


@lru_cache(maxsize=1024)
def most_in_words(words: str) -> Decimal | None:
    """The doses a day that a text allows at most: "no more than 3 doses per day", "не более 3 раз в сутки"."""
    found = _MOST.search(words)
    return _frequency_in([words[found.end() :]]) if found else None


def _per_day(repeat: Repeat | None) -> Decimal | None:
    frequency = primitives.number(repeat.frequencyMax or repeat.frequency) if repeat else None
    return None if repeat is None or frequency is None else _each_period(repeat, frequency)


def _once_each_time(repeat: Repeat | None) -> Decimal | None:
    """Without a frequency a dose is given once in the period, or once at each time of the day that is named."""
    if repeat is None or repeat.frequency is not None:
        return None
    times = len(repeat.timeOfDay or repeat.when or ())
    if repeat.period is None:
        return Decimal(times) if times else None
    return _each_period(repeat, Decimal(times or 1))


def _each_period(repeat: Repeat, frequency: Decimal) -> Decimal | None:
    per = _PER_DAY.get(primitives.text(repeat.periodUnit))
    period = primitives.number(repeat.period) if repeat.period is not None else Decimal(1)
    return frequency * per / period if per and period else None


def code_words(timing: Timing | None) -> list[str]:
    """The code of a timing and its words: "Q6H", "as needed"."""
    if timing is None or not timing.code:
        return []
    said = concept(timing.code)
    return list(dict.fromkeys((*(coding.code for coding in said.codings), *said.texts)))


def _frequency_in(texts: list[str]) -> Decimal | None:
    """Doses a day of the first text that states them."""
    return next((found for text in texts if text and (found := _frequency(text)) is not None), None)


@lru_cache(maxsize=1024)
def _frequency(text: str) -> Decimal | None:
    """Kept by the text: what is written on an order recurs from call to call."""
    if found := _TIMES_A_DAY.search(text):
        spelled = (found[1] or found[2]).lower()
        return Decimal(_NUMBERS.get(spelled) or spelled) or None
    if (found := _EVERY_HOURS.search(text)) and (hours := Decimal(found[1])):
        return 24 / hours
    return next((count for count, pattern in _FREQUENCY if pattern.search(text)), None)
