"""Total readers of untrusted JSON values: they answer None, "" or nothing where a value is not what it should be."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, NamedTuple

from service.logic.model import When

MAX_TEXT = 2000  # characters read of any string: nothing that matters is longer


class Coding(NamedTuple):
    """One coding; absent members are empty."""

    system: str
    code: str
    display: str


def obj(value: Any) -> dict[str, Any]:
    """A JSON object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """A JSON array; a lone value where an array belongs counts as one item; None is none."""
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def text(value: Any) -> str:
    """A string without surrounding blanks, bounded in length; empty for anything else."""
    if type(value) is not str:
        return ""
    return value.strip() if len(value) <= MAX_TEXT else value[:MAX_TEXT].strip()


def codings(concept: Any) -> list[Coding]:
    """The codings of a CodeableConcept."""
    listed = concept.get("coding") if type(concept) is dict else None
    if type(listed) is not list:
        return []
    return [
        Coding(text(c.get("system")), text(c.get("code")), text(c.get("display"))) for c in listed if type(c) is dict
    ]


def concept_texts(concept: Any) -> list[str]:
    """The text of a CodeableConcept and the displays of its codings, once each."""
    if type(concept) is not dict:
        return []
    found = [text(concept.get("text")), *(coding.display for coding in codings(concept))]
    return [word for word in dict.fromkeys(found) if word]


def reference(value: Any) -> str:
    """The reference string of a Reference, or an empty one."""
    return text(obj(value).get("reference"))


def number(value: Any) -> Decimal | None:
    """A finite JSON number (or a string that is one), as an exact decimal of reasonable size."""
    if type(value) is Decimal and value.is_finite() and -20 < value.adjusted() < 20:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        read = Decimal(value.strip().replace(",", ".") if isinstance(value, str) else str(value))
    except (InvalidOperation, ValueError):
        return None
    return read if read.is_finite() and -20 < read.adjusted() < 20 else None


_PARTIAL = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")


def when(value: Any, zone: tzinfo) -> When | None:
    """A FHIR date, dateTime or instant; a part of a date is the whole of it; a time without a zone is in `zone`."""
    return _when(value, zone) if isinstance(value, str) and value else None


@lru_cache(maxsize=8192)
def _when(value: str, zone: tzinfo) -> When | None:
    value = value.strip()
    if len(value) <= 10:
        partial = _PARTIAL.fullmatch(value)
        return _span(partial, zone) if partial else None
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=zone)
        moment.timestamp()  # a moment that no arithmetic can handle is no moment
        _ = moment + timedelta(days=2), moment - timedelta(days=2)
    except (ValueError, OverflowError):
        return None
    return When(moment, moment)


def _span(parts: re.Match[str], zone: tzinfo) -> When | None:
    year, month, day = (int(part) if part else None for part in parts.groups())
    try:
        start = datetime(year or 0, month or 1, day or 1, tzinfo=zone)
        if not 1800 <= start.year <= 2400:
            return None
        if day:
            end = start + timedelta(days=1)
        elif month:
            end = (start + timedelta(days=32)).replace(day=1)
        else:
            end = start.replace(year=start.year + 1)
    except (ValueError, OverflowError):
        return None
    return When(start, end - timedelta(seconds=1))


def has_zone(value: Any) -> bool:
    """False for a time of day without an offset."""
    return not isinstance(value, str) or len(value) <= 10 or bool(re.search(r"(?:Z|[+-]\d{2}:?\d{2})$", value.strip()))


def period(value: Any, zone: tzinfo) -> tuple[When | None, When | None]:
    """Start and end of a Period."""
    return when(obj(value).get("start"), zone), when(obj(value).get("end"), zone)


@lru_cache(maxsize=4096)
def local_reference(value: str) -> str:
    """`Type/id` of a reference, whatever server base or version it carries; other forms as they are."""
    if value.startswith(("urn:", "#")):
        return value
    parts = value.split("/_history/")[0].strip("/").split("/")
    return "/".join(parts[-2:])
