"""Message -> a sentence in the reader's language, with its numbers and days; what comes from the chart stays inert."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from decimal import Decimal
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from babel import Locale
from babel.dates import get_month_names
from babel.messages.pofile import read_po
from babel.numbers import get_decimal_symbol
from persiantools.jdatetime import JalaliDate

from service.logic.message import Message, Value
from service.terminology.drug_names import local_name

LANGUAGES = ("en", "ru", "fa")
_Escape = Callable[[str], str]
# Units as they are shown; those that a language writes in its own letters are translated.
_UNITS = {
    "mmol/L": Message("mmol/L"),
    "mg/dL": Message("mg/dL"),
    "mg/L": Message("mg/L"),
    "meq/L": Message("mEq/L"),
    "umol/L": Message("µmol/L"),
    "g/L": Message("g/L"),
    "g/dL": Message("g/dL"),
    "ms": Message("ms"),
    "s": Message("s"),
    "mL/min": Message("mL/min"),
    "mL/min/{1.73_m2}": Message("mL/min/1.73 m²"),
}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>&|~#!])")
_LINK = re.compile(r"(:|www)([/.])", re.IGNORECASE)  # some renderers make links of bare addresses
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")
# Direction (Unicode UAX #9): isolates keep a line, and the Latin runs within it, in order in a box of either direction.
_RIGHT_TO_LEFT = frozenset({"fa"})
_LRI, _RLI, _PDI = "\u2066", "\u2067", "\u2069"
_WORD = r"[<>≥≤]?[A-Za-z0-9µ](?:[A-Za-z0-9µ²%+]|\\?[./:_×*-](?=[A-Za-z0-9µ]))*"
_LATIN = re.compile(rf"{_LRI}[^{_PDI}]*{_PDI}|{_WORD}(?: (?:%|{_WORD}))*+")
_LETTER = re.compile(r"[A-Za-zµ]")


def _isolated(words: str) -> str:
    return words if words.startswith(_LRI) else f"{_LRI}{words}{_PDI}"


@dataclass(frozen=True, slots=True)
class Wording:
    """A language and a time zone."""

    language: str
    zone: tzinfo
    messages: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """The catalogue is asked for every few words of a card."""
        object.__setattr__(self, "messages", catalogue(self.language))

    def plain(self, text: Message) -> str:
        """The sentence as plain text (a summary, a description)."""
        return self._directed(self._say(text, _inert))

    def markdown(self, text: Message) -> str:
        """The sentence for Markdown: what comes from the chart cannot become markup."""
        return self._directed(self._say(text, _escaped))

    def line(self, words: str) -> str:
        """A whole line in the direction of the language, whatever the direction of the page that shows it."""
        return f"{_RLI}{words}{_PDI}" if self.language in _RIGHT_TO_LEFT and words else words

    def _directed(self, words: str) -> str:
        """In a right-to-left sentence, Latin words and values with units keep their own order."""
        if self.language not in _RIGHT_TO_LEFT:
            return words
        return _LATIN.sub(lambda run: _isolated(run[0]) if _LETTER.search(run[0]) else run[0], words)

    def _charted(self, words: str) -> str:
        """Words of the chart in Latin letters stay together, brackets and all."""
        whole = self.language not in _RIGHT_TO_LEFT or _LATIN.fullmatch(words) or not _LETTER.search(words)
        return words if whole else _isolated(words)

    def translate(self, message: str) -> str:
        """A fixed English message in this language."""
        return self.messages.get(message, message)

    def _say(self, text: Message, inert: _Escape) -> str:
        template = self.translate(text.template)
        if not text.values:
            return template
        values = {name: self._value(name, value, inert) for name, value in text.values.items()}
        return template.format_map(values).strip()

    def _value(self, name: str, value: Value, inert: _Escape) -> str:
        if isinstance(value, Message):
            return self._say(value, inert)
        if isinstance(value, str):
            return self._word(name, value, inert)
        if isinstance(value, tuple):
            return self._joined([self._value("", item, inert) for item in value])
        if isinstance(value, datetime | date):
            return self._when(name, value)
        return self.number(Decimal(value))

    def _word(self, name: str, word: str, inert: _Escape) -> str:
        """A unit, an ingredient, or words of the chart as they came."""
        if name == "unit" and word in _UNITS:
            return self._say(_UNITS[word], inert)
        known = local_name(word, self.language) if name == "drug" and self.language != "en" else word
        return self._charted(inert(known))

    def _when(self, name: str, value: datetime | date) -> str:
        """`clock`: the time of day; `due`: a moment of the next days; else the whole moment."""
        if isinstance(value, datetime) and name == "clock":
            return f"{value.astimezone(self.zone):%H:%M}"
        if isinstance(value, datetime) and name == "due":
            return self.soon(value)
        return self.moment(value)

    def _joined(self, words: Sequence[str]) -> str:
        return self.translate(", ").join(words)

    def number(self, value: Decimal) -> str:
        """Exact digits with the decimal sign of the language."""
        return f"{value:f}".replace(".", _decimal_sign(self.language))

    def moment(self, value: datetime | date) -> str:
        """A day, with the time of day in the reader's zone if there is one."""
        local = value.astimezone(self.zone) if isinstance(value, datetime) else value
        day = self._day(local)
        if not isinstance(value, datetime):
            return day
        return f"{day}{self.translate(', ')}{local:%H:%M}" if self.language == "fa" else f"{day} {local:%H:%M}"

    def soon(self, value: datetime) -> str:
        """A moment of the next hours or days: without its year."""
        clock = f"{value.astimezone(self.zone):%H:%M}"
        return f"{self.day(value)}{self.translate(', ') if self.language == 'fa' else ' '}{clock}"

    def day(self, value: datetime) -> str:
        """A day without its year, by the calendar of daily life."""
        local = value.astimezone(self.zone)
        if self.language == "ru":
            return f"{local:%d.%m}"
        if self.language == "fa":
            jalali = JalaliDate.to_jalali(local.year, local.month, local.day)
            return f"{jalali.day} {jalali.strftime('%B', locale='fa')}"
        return f"{local.day} {_months(self.language)[local.month]}"

    def month(self, value: date) -> str:
        """A month with its year, by the calendar of daily life."""
        if self.language == "ru":
            return f"{value:%m.%Y}"
        if self.language == "fa":
            jalali = JalaliDate.to_jalali(value.year, value.month, value.day)
            return f"{jalali.strftime('%B', locale='fa')} {jalali.year}"
        return f"{_months(self.language)[value.month]} {value.year}"

    def _day(self, day: date) -> str:
        """As charts of the country write it; in Persian the calendar of daily life first, that of the chart beside."""
        if self.language == "ru":
            return f"{day:%d.%m.%Y}"
        named = f"{day.day} {_months(self.language)[day.month]} {day.year}"
        if self.language != "fa":
            return named
        jalali = JalaliDate.to_jalali(day.year, day.month, day.day)
        return f"{jalali.day} {jalali.strftime('%B', locale='fa')} {jalali.year}، {_isolated(f'{day:%Y-%m-%d}')}"


_ADDRESS = re.compile(r"@(?=\S)")  # renderers make links of e-mail addresses, and escaped signs do not stop them
_HARMLESS = re.compile(r"[A-Za-z0-9(),%+-]+(?: [A-Za-z0-9(),%+-]+)*+")  # most drugs and labels


def _inert(words: str) -> str:
    """Chart text on one line, without control or direction characters."""
    if _HARMLESS.fullmatch(words):
        return words
    return " ".join(_CONTROL.sub(" ", words).split())


def _escaped(words: str) -> str:
    if _HARMLESS.fullmatch(words):
        return words
    words = _inert(words)
    return words if words.isalnum() else _LINK.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", _ADDRESS.sub("@ ", words)))


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """The translations of a language by English message; a message that is not translated stays English."""
    if language == "en":
        return MappingProxyType({})
    with files("service.cds").joinpath(f"languages/{language}.po").open("rb") as file:
        messages = read_po(file, locale=language)
    return MappingProxyType({str(m.id): str(m.string) for m in messages if m.id and m.string and not m.fuzzy})


@cache
def _months(language: str) -> dict[int, str]:
    return {number: str(name) for number, name in get_month_names("abbreviated", locale=Locale(language)).items()}


@cache
def _decimal_sign(language: str) -> str:
    return get_decimal_symbol(Locale(language), numbering_system="latn")


def negotiate(accepted: str, default: str) -> str:
    """The offered language that an Accept-Language header prefers, else the default."""
    wishes = []
    for place, part in enumerate(accepted.split(",")[:20]):
        tag, _, quality = part.lower().replace(" ", "").partition(";q=")
        weight = _quality(quality)
        if weight > 0:
            wishes.append((-weight, place, tag.split("-")[0]))
    return next((language for _, _, language in sorted(wishes) if language in LANGUAGES), default)


def _quality(text: str) -> float:
    try:
        return float(text) if text else 1.0
    except ValueError:
        return 0.0
