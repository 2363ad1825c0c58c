"""Total readers of values that somebody else wrote: they answer None or "" where a value is not what it should be."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from service.fhir.resources import Period
from service.logic.model import PartialDateTime

MAX_TEXT = 2000  # characters read of any string: nothing that matters is longer
# Persian and Arabic digits, and their decimal separator; the direction marks that come with them.
_DIGITS = {zero + digit: str(digit) for zero in (0x660, 0x6F0) for digit in range(10)}
_WESTERN: dict[int, str | None] = {**_DIGITS, ord("٫"): ".", 0x200E: None, 0x200F: None, 0x061C: None}


def text(value: str | None) -> str:
    """A string without surrounding blanks, bounded in length; empty for None."""
    return value[:MAX_TEXT].strip() if value else ""


def ascii_digits(value: str) -> str:
    """The same text with the digits 0 to 9.

    >>> western("۰٫۶۲ mmol/L")
    '0.62 mmol/L'
    """
    return value if value.isascii() else value.translate(_WESTERN)


def number(value: Any) -> Decimal | None:
    """A finite number (or a string that is one), as an exact decimal of reasonable size.

    >>> number("0,62"), number("NaN"), number(True)
    (Decimal('0.62'), None, None)
    """
    if type(value) is not Decimal:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            return None
        try:
            value = Decimal(ascii_digits(value).strip().replace(",", ".") if isinstance(value, str) else str(value))
        except (InvalidOperation, ValueError):
            return None
    return value if value.is_finite() and -20 < value.adjusted() < 20 else None


_MAX_TIME = 60  # characters, blanks included
_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


def when(value: str | None, zone: tzinfo) -> PartialDateTime | None:
    """A FHIR date, dateTime or instant; a part of a date is the whole of it; a time without a zone is in `zone`."""
    return _when(value, zone) if value and len(value) <= _MAX_TIME else None


@lru_cache(maxsize=8192)
def _when(value: str, zone: tzinfo) -> PartialDateTime | None:
    value = value.strip()
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
    return len(value) <= 10 or value[-1] == "Z" or _ZONE.search(value.strip()) is not None


def period(value: Period | None, zone: tzinfo) -> tuple[PartialDateTime | None, PartialDateTime | None]:
    """Start and end of a Period."""
    return (when(value.start, zone), when(value.end, zone)) if value else (None, None)


def local_reference(value: str) -> str:
    """`Type/id` of a reference, whatever server base or version it carries; other forms as they are."""
    if value.startswith(("urn:", "#")):
        return value
    parts = value.split("/_history/")[0].strip("/").split("/")
    return "/".join(parts[-2:])
