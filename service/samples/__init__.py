"""The built-in synthetic patients, each with the CDS Hooks request that an EHR would send about them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

_HERE = Path(__file__).parent
_AGO = re.compile(r"@-(\d+)(min|h|d)( date)?")
_UNITS = {"min": "minutes", "h": "hours", "d": "days"}


class Sample(msgspec.Struct, frozen=True):
    """One invented patient with the CDS Hooks request that an EHR would send about them."""

    id: str
    title: str
    story: str
    service: str
    request: dict[str, Any]


def samples() -> dict[str, Sample]:
    """Every built-in sample by its id, in the order of the file names, times still relative."""
    files = sorted(_HERE.glob("*.json"))
    return {sample.id: sample for sample in (msgspec.json.decode(file.read_bytes(), type=Sample) for file in files)}


def expand(sample: Sample, now: datetime) -> Sample:
    """Replace each relative time by a moment before `now`: `@-3h` an instant in UTC, `@-400d date` a date."""
    return msgspec.structs.replace(sample, request=_expanded(sample.request, now.astimezone(UTC)))


def _expanded(value: Any, now: datetime) -> Any:
    if isinstance(value, dict):
        return {key: _expanded(item, now) for key, item in value.items()}
    if isinstance(value, list):
        return [_expanded(item, now) for item in value]
    match = _AGO.fullmatch(value) if isinstance(value, str) else None
    return _moment(match, now) if match else value


def _moment(match: re.Match[str], now: datetime) -> str:
    then = now - timedelta(**{_UNITS[match[2]]: int(match[1])})
    return f"{then:%Y-%m-%d}" if match[3] else f"{then:%Y-%m-%dT%H:%M:00Z}"
