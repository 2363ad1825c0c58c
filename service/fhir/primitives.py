"""Total readers of values that somebody else wrote: they answer None or "" where a value is not what it should be."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from functools import lru_cache
from typing import Any

from service.fhir.resources import Period
from service.logic.model import PartialDateTime
from service.terminology.number_words import NUMBER, ascii_digits, read_number

MAX_TEXT = 2000  # characters read of any string: nothing that matters is longer


def text(value: str | None) -> str:
    """A string without surrounding blanks, bounded in length; empty for None."""
    return value[:MAX_TEXT].strip() if value else ""


_WHOLE_NUMBER = re.compile(rf"[+-]?{NUMBER}")
_MACHINE = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?")


def number(value: Any) -> Decimal | None:
    """A finite number (or a string that is one), as an exact decimal of reasonable size.

    A string is read as FHIR writes decimals, else as a number in words: "1,200" can be read in two ways.

    >>> number("0.620"), number("0,62"), number("1,200"), number("NaN"), number(True)
    (Decimal('0.620'), Decimal('0.62'), None, None, None)
    """
    if isinstance(value, str):
        value = _spelled(ascii_digits(value).strip())
    elif type(value) is not Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        value = Decimal(str(value))
    return bounded(value)


def bounded(value: Decimal | None) -> Decimal | None:
    """A finite number of reasonable size; one with more digits than a double holds is the double's short spelling."""
    if value is None or not value.is_finite() or not -20 < value.adjusted() < 20:
        return None
    return value if len(value.as_tuple().digits) <= _DIGITS_OF_A_DOUBLE else Decimal(f"{value:.15g}").normalize()


def _spelled(value: str) -> Decimal | None:
    if len(value) > _MAX_NUMBER:
        return None
    if _MACHINE.fullmatch(value):
        return Decimal(value)
    found = read_number(value.lstrip("+-")) if _WHOLE_NUMBER.fullmatch(value) else None
    return -found if found is not None and value.startswith("-") else found


_MAX_NUMBER = 60  # characters
_DIGITS_OF_A_DOUBLE = 15
_MAX_TIME = 60  # characters, blanks included
_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


def when(value: str | None, zone: tzinfo) -> PartialDateTime | None:
    """A FHIR date, dateTime or instant; a part of a date is the whole of it; a time without a zone is in `zone`."""
    return _when(value, zone) if value and len(value) <= _MAX_TIME else None


@lru_cache(maxsize=8192)
def _when(value: str, zone: tzinfo) -> PartialDateTime | None:
    value = _ZONE_NAME.sub("", value.strip())
    if basic := _BASIC.fullmatch(value):
        value = _extended(basic)
    if len(value) <= 10:
        partial = _PARTIAL.fullmatch(value)
        return _span(partial, zone) if partial else None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    if not 2 <= moment.year <= 9998:  # what no arithmetic can handle is no moment
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
    return PartialDateTime(moment, moment)


_ZONE_NAME = re.compile(r"\[[\w/+-]+\]$")  # java.time writes "…+01:00[Europe/Berlin]"
_BASIC = re.compile(  # HL7 v2: 20260302, 202603020700, 20260302070000+0100
    r"((?:18|19|20|21)\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?:([01]\d|2[0-3])([0-5]\d)([0-5]\d)?(?:\.\d+)?([+-]\d{4})?)?"
)


def _extended(basic: re.Match[str]) -> str:
    """A time without separators as ISO 8601 spells it."""
    year, month, day, hour, minute, second, zone = basic.groups()
    time = f"T{hour}:{minute}:{second or '00'}{zone or ''}" if hour else ""
    return f"{year}-{month}-{day}{time}"


def _span(parts: re.Match[str], zone: tzinfo) -> PartialDateTime | None:
    year, month, day = (int(part) if part else None for part in parts.groups())
    try:
        start = datetime(year or 0, month or 1, day or 1, tzinfo=zone)
    except ValueError:
        return None
    if not 1800 <= start.year <= 2400:
        return None
    if day:
        end = start + timedelta(days=1)
    elif month:
        end = (start + timedelta(days=32)).replace(day=1)
    else:
        end = start.replace(year=start.year + 1)
    return PartialDateTime(start, end - timedelta(seconds=1))


_ZONE = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$")


def has_zone(value: str) -> bool:
    """False for a time of day without an offset."""
    if value[-1:] == "Z":  # as most are written
        return True
    value = _ZONE_NAME.sub("", value.strip())
    return len(value) <= 10 or value[-1] == "Z" or _ZONE.search(value) is not None


def period(value: Period | None, zone: tzinfo) -> tuple[PartialDateTime | None, PartialDateTime | None]:
    """Start and end of a Period."""
    return (when(value.start, zone), when(value.end, zone)) if value else (None, None)


def local_reference(value: str) -> str:
    """`Type/id` of a reference, whatever server base or version it carries; other forms as they are."""
    if value.startswith(("urn:", "#")):
        return value
    parts = value.split("/_history/")[0].strip("/").split("/")
    return "/".join(parts[-2:])
