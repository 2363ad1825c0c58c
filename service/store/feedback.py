"""Reads the body of a feedback call, item by item: what is wrong with one is said and never costs the others.

Of what a sender writes only codes that we offer are kept, and the comment, masked: everything else is "other".
Source: CDS Hooks 2.0.1, "Feedback". Epic's dialect ("CDS Hooks Tutorial", fhir.epic.com) is read too: the member is
called `overrideReasons`, reasons built in Epic come as extensions, and card ids need not be UUIDs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import msgspec

from service.errors import BadRequest, TooLarge
from service.store.mask import mask

COMMENT_LIMIT = 1000  # characters
MAX_ITEMS = 1000
MAX_SUGGESTIONS = 50
ID_LIMIT = 100  # characters of a card or suggestion id, and of a reason's code
OLDEST = datetime(2020, 1, 1, tzinfo=UTC)  # of an outcome: no card is older (`card_ids`)
CLOCKS = timedelta(hours=1)  # by which a client's clock may be ahead of ours
OTHER = "other"
EPIC = "com.epic.cdshooks.feedback.overrideReason"


@dataclass(frozen=True, slots=True)
class Offered:
    """What a report may speak of: our reasons (system, codes); the day of a card that is surely ours."""

    now: datetime
    system: str
    codes: Collection[str]
    issued_on: Callable[[str], date | None]


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """What became of one card. `suggestions` only if accepted; reason and comment only if overridden, else ""."""

    card: str
    outcome: str  # "accepted" or "overridden"
    at: datetime  # UTC
    suggestions: tuple[str, ...] = ()
    reason: str = ""  # a code of ours, "other", or "" if none was stated
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An item that was not understood: its place in `$.feedback`, and why, never quoting it."""

    index: int
    reason: str


def parse_items(
    body: object, offered: Offered, comment_limit: int = COMMENT_LIMIT
) -> tuple[list[FeedbackItem], list[Rejected]]:
    """The items of a feedback body (decoded JSON) that can be used, and those that cannot.

    A comment longer than `comment_limit` characters is cut and ends in "…"; 0 keeps no comments. Raises BadRequest if
    the body is no object with an array `feedback`, TooLarge if it has more than 1,000 items.
    """
    entries = body.get("feedback") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        raise BadRequest("feedback must be an array", "$.feedback")
    if len(entries) > MAX_ITEMS:
        raise TooLarge(f"more than {MAX_ITEMS} items", "$.feedback")
    read = [_item(entry, offered, comment_limit) for entry in entries]
    rejected = [Rejected(index, item) for index, item in enumerate(read) if isinstance(item, str)]
    return [item for item in read if isinstance(item, FeedbackItem)], rejected


def _item(entry: object, offered: Offered, comment_limit: int) -> FeedbackItem | str:
    """The item, or what is wrong with it."""
    if not isinstance(entry, dict):
        return "not an object"
    card, at = _word(entry.get("card"), ID_LIMIT + 1), _instant(entry.get("outcomeTimestamp"))
    if not 0 < len(card) <= ID_LIMIT:
        return f"card must be a string of 1 to {ID_LIMIT} characters"
    if at is None:
        return "outcomeTimestamp must be an RFC 3339 date-time with a zone"
    if wrong := _untimely(at, card, offered):
        return wrong
    match entry.get("outcome"):
        case "accepted":
            return _accepted(card, at, entry.get("acceptedSuggestions"))
        case "overridden":
            return _overridden(card, at, entry, offered, comment_limit)
    return "outcome must be accepted or overridden"


def _untimely(at: datetime, card: str, offered: Offered) -> str:
    """What is wrong with the time of an outcome, "" if nothing is."""
    if at > offered.now + CLOCKS:
        return "outcomeTimestamp lies in the future"
    issued = offered.issued_on(card)
    if at < OLDEST or (issued is not None and at.date() < issued - timedelta(days=1)):
        return "outcomeTimestamp lies before the card was answered"
    return ""


def _accepted(card: str, at: datetime, suggestions: object) -> FeedbackItem | str:
    listed = suggestions if isinstance(suggestions, list) else []
    ids = [_word(_members(suggestion).get("id"), ID_LIMIT) for suggestion in listed]
    if not any(ids) or len(ids) > MAX_SUGGESTIONS:
        return f"accepted needs acceptedSuggestions with 1 to {MAX_SUGGESTIONS} ids"
    return FeedbackItem(card, "accepted", at, suggestions=tuple(filter(None, ids)))


def _overridden(card: str, at: datetime, entry: dict[str, Any], offered: Offered, comment_limit: int) -> FeedbackItem:
    why = _members(entry.get("overrideReason")) or _members(entry.get("overrideReasons"))
    return FeedbackItem(
        card, "overridden", at, (), _reason(why, offered), _comment(why.get("userComment"), comment_limit)
    )


def _reason(why: dict[str, Any], offered: Offered) -> str:
    """Our code; "other" for a reason of the sender's own, such as one built in Epic; "" for none."""
    coding, extension = _members(why.get("reason")), _members(why.get("extension"))
    code, system = _word(coding.get("code"), ID_LIMIT), _word(coding.get("system"), ID_LIMIT)
    if code in offered.codes and system in (offered.system, ""):
        return code
    built = any(extension.get(f"{EPIC}.{name}") for name in ("reasonCategory", "reasonDisplay", "reasonTitle"))
    return OTHER if code or built or _word(coding.get("display"), ID_LIMIT) else ""


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: object, limit: int) -> str:
    """A string or whole number as text, cut to `limit`; "" for anything else."""
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return ""
    return storable(str(value)).strip()[:limit]


def storable(words: str) -> str:
    """The text without what a database cannot store: NUL and lone surrogates."""
    return words.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")


def _comment(value: object, limit: int) -> str:
    """Masked before it is cut, so that no number is cut to one that looks harmless."""
    if not isinstance(value, str):
        return ""
    words = mask(storable(value[: 4 * COMMENT_LIMIT])).strip()
    return words if len(words) <= limit else words[: max(0, limit - 1)] + "…"[:limit]


def _instant(value: object) -> datetime | None:
    """An RFC 3339 date-time in UTC, or None."""
    try:
        moment = msgspec.convert(value, datetime)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (msgspec.ValidationError, OverflowError):
        return None
