"""Feedback bodies as they are sent, as they should not be, and what is made of them."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BadRequest, TooLarge
from service.store.feedback import FeedbackItem, Offered, Rejected, parse_items
from service.store.mask import mask

AT = datetime(2026, 3, 18, 10, 0, tzinfo=UTC)
EPIC = "com.epic.cdshooks.feedback.overrideReason"
OFFERED = Offered(AT, "urn:ours", {"declined", "other"}, lambda _card: None)
UUID = "4e0a3a1b-7f40-4a9c-9d4f-000000000001"


def item(**members: object) -> dict[str, Any]:
    """An overridden item, with members replaced, added, or (None) left out."""
    whole = {"card": UUID, "outcome": "overridden", "outcomeTimestamp": "2026-03-18T10:00:00Z", **members}
    return {name: value for name, value in whole.items() if value is not None}


def took(**members: object) -> dict[str, Any]:
    return item(outcome="accepted", **members)


def why(**reason: object) -> FeedbackItem:
    return FeedbackItem(UUID, "overridden", AT, **reason)  # type: ignore[arg-type]


UNDERSTOOD: dict[str, tuple[dict[str, Any], FeedbackItem]] = {
    "accepted": (took(acceptedSuggestions=[{"id": "s1"}]), FeedbackItem(UUID, "accepted", AT, ("s1",))),
    "one suggestion of several without an id": (
        took(acceptedSuggestions=[{}, {"id": "s1"}, "x", {"id": "s2"}]),
        FeedbackItem(UUID, "accepted", AT, ("s1", "s2")),
    ),
    "dismissed without a word": (item(), why()),
    "our own reason": (
        item(overrideReason={"reason": {"code": "declined", "system": "urn:ours", "display": "Declined"}}),
        why(reason="declined"),
    ),
    "a reason without display, as the public sandbox sends it": (
        item(overrideReason={"reason": {"code": "c", "system": "urn:x"}}),
        why(reason="other"),
    ),
    "our code without its system": (item(overrideReason={"reason": {"code": "declined"}}), why(reason="declined")),
    "our code under a system of theirs": (
        item(overrideReason={"reason": {"code": "declined", "system": "urn:x"}}),
        why(reason="other"),
    ),
    "an hour ahead of us": (
        item(outcomeTimestamp="2026-03-18T11:00:00Z"),
        FeedbackItem(UUID, "overridden", AT.replace(hour=11)),
    ),
    "only a comment": (item(overrideReason={"userComment": "not now"}), why(comment="not now")),
    "Epic's plural member": (
        item(card="123456", overrideReasons={"reason": {"code": "c", "display": "bad", "system": "urn:x"}}),
        FeedbackItem("123456", "overridden", AT, (), "other"),
    ),
    "a reason built in Epic": (
        item(
            overrideReasons={
                "extension": {f"{EPIC}.reasonCategory": "45", f"{EPIC}.reasonDisplay": "D", f"{EPIC}.reasonTitle": "T"},
                "userComment": "free",
            }
        ),
        why(reason="other", comment="free"),
    ),
    "a reason built in Epic with a number and a title only": (
        item(overrideReason={"extension": {f"{EPIC}.reasonCategory": 45, f"{EPIC}.reasonTitle": "T"}}),
        why(reason="other"),
    ),
    "a reason of the wrong shape": (item(overrideReason={"reason": "declined"}), why()),
    "an override reason of the wrong shape": (item(overrideReason=[1]), why()),
    "unknown members": (item(zz=1, extension={"a.b.c": [1]}), why()),
    "fractions of a second": (
        item(outcomeTimestamp="2026-03-18T10:00:00.123Z"),
        FeedbackItem(UUID, "overridden", AT.replace(microsecond=123000)),
    ),
    "another zone": (item(outcomeTimestamp="2026-03-18T15:30:00+05:30"), why()),
    "a zero zone": (item(outcomeTimestamp="2026-03-18T10:00:00+00:00"), why()),
    "the longest card id": (item(card="c" * 100), FeedbackItem("c" * 100, "overridden", AT)),
    "what no database can store": (
        item(card="a\x00b", overrideReason={"userComment": "\ud800 \x00"}),
        FeedbackItem("ab", "overridden", AT, comment="?"),
    ),
}

REFUSED: dict[str, tuple[object, str]] = {
    "not an object": ("x", "object"),
    "null": (None, "object"),
    "no card": (item(card=None), "card"),
    "an empty card": (item(card=""), "card"),
    "a card that is an object": (item(card={"id": UUID}), "card"),
    "a card that is true": (item(card=True), "card"),
    "a card id that is too long": (item(card="c" * 101), "card"),
    "ignored": (item(outcome="ignored"), "outcome"),
    "no outcome": (item(outcome=None), "outcome"),
    "an outcome that is a list": (item(outcome=["accepted"]), "outcome"),
    "accepted, but what": (took(), "acceptedSuggestions"),
    "accepted nothing": (took(acceptedSuggestions=[]), "acceptedSuggestions"),
    "accepted without ids": (took(acceptedSuggestions=[{"uuid": "s1"}]), "acceptedSuggestions"),
    "accepted an object": (took(acceptedSuggestions={"id": "s1"}), "acceptedSuggestions"),
    "accepted far too much": (took(acceptedSuggestions=[{"id": "s"}] * 51), "acceptedSuggestions"),
    "no time": (item(outcomeTimestamp=None), "outcomeTimestamp"),
    "a day": (item(outcomeTimestamp="2026-03-18"), "outcomeTimestamp"),
    "a time without a zone": (item(outcomeTimestamp="2026-03-18T10:00:00"), "outcomeTimestamp"),
    "a time that is garbage": (item(outcomeTimestamp="yesterday"), "outcomeTimestamp"),
    "a time that is a number": (item(outcomeTimestamp=1742292000), "outcomeTimestamp"),
    "a time that is still to come": (item(outcomeTimestamp="2026-03-18T11:00:01Z"), "future"),
    "a time before there were cards": (item(outcomeTimestamp="2019-12-31T23:59:59Z"), "before the card"),
    "a time before time": (item(outcomeTimestamp="0001-01-01T00:00:00+14:00"), "outcomeTimestamp"),
}


@pytest.mark.parametrize(("sent", "read"), UNDERSTOOD.values(), ids=list(UNDERSTOOD))
def test_understood(sent: dict[str, Any], read: FeedbackItem) -> None:
    assert parse_items({"feedback": [sent]}, OFFERED) == ([read], [])


@pytest.mark.parametrize(("sent", "word"), REFUSED.values(), ids=list(REFUSED))
def test_refused_without_loss_of_the_others_and_without_quoting(sent: object, word: str) -> None:
    items, rejected = parse_items({"feedback": [item(card="a"), sent, item(card="b")]}, OFFERED)
    assert [each.card for each in items] == ["a", "b"]
    assert [each.index for each in rejected] == [1]
    assert word in rejected[0].reason
    assert UUID not in rejected[0].reason


@pytest.mark.parametrize("body", [[], {}, {"feedback": {}}, {"feedback": None}, "x", None, 1, {"Feedback": []}])
def test_a_body_without_an_array_of_feedback_is_a_bad_request(body: object) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_items(body, OFFERED)
    assert caught.value.where == "$.feedback"


def test_nothing_to_report_is_no_mistake() -> None:
    assert parse_items({"feedback": []}, OFFERED) == ([], [])


def test_more_than_a_thousand_items_are_too_many() -> None:
    assert len(parse_items({"feedback": [item()] * 1000}, OFFERED)[0]) == 1000
    with pytest.raises(TooLarge):
        parse_items({"feedback": [item()] * 1001}, OFFERED)


@pytest.mark.parametrize(
    ("length", "limit", "kept"),
    [
        (1000, 1000, "x" * 1000),
        (1001, 1000, "x" * 999 + "…"),
        (1_000_000, 1000, "x" * 999 + "…"),
        (5, 1, "…"),
        (5, 0, ""),
    ],
)
def test_a_comment_is_bounded_and_its_cut_marked(length: int, limit: int, kept: str) -> None:
    [read], _ = parse_items({"feedback": [item(overrideReason={"userComment": "x" * length})]}, OFFERED, limit)
    assert read.comment == kept


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("MRN 00123456 declined", "MRN # declined"),
        ("call 555-123 4567 first", "call # first"),
        ("born 01/02/1970", "born #"),
        ("seen 2026-03-18", "seen #"),
        ("شماره ۱۲۳۴۵۶۷", "شماره #"),
        ("ask jane.doe@hospital.example", "ask #"),
        ("ID 12\u201334\u201356\u201378", "ID #"),
        ("ID 12\u202f345\u202f678", "ID #"),
        ("ID 12\u00a0345\u00a0678", "ID #"),
        ("ID 1,234,567", "ID #"),
        ("ID 123\u2009–\u2009456", "ID #"),
        ("tel (030) 123 45 67", "tel (#"),
        ("born 3 March 1970", "born #"),
        ("born 3rd of March, 1970", "born #"),
        ("born March 3rd, 1970", "born #"),
        ("born 3-Mar-70", "born #"),
        ("родилась 3 марта 1970", "родилась #"),
        ("متولد ۱۲ اسفند ۱۳۴۸", "متولد #"),
        ("case AB12345", "case #"),
        ("case H-1234-X", "case #"),
        ("case 12AB3456", "case #"),
        ("Mg 0.45 mmol/L, K 3.1; 2 g in 2 h", "Mg 0.45 mmol/L, K 3.1; 2 g in 2 h"),
        ("Mg 0.45–0.50 mmol/L", "Mg 0.45–0.50 mmol/L"),
        ("eGFR 45, creatinine 178", "eGFR 45, creatinine 178"),
        ("1000mg oral, B12, R-011, CO2", "1000mg oral, B12, R-011, CO2"),
        ("may repeat 2 g; march on", "may repeat 2 g; march on"),
    ],
)
def test_what_may_name_somebody_in_a_comment_is_masked(written: str, kept: str) -> None:
    [read], _ = parse_items({"feedback": [item(overrideReason={"userComment": written})]}, OFFERED)
    assert read.comment == kept


def test_masking_a_long_comment_takes_time_in_proportion_to_its_length() -> None:
    for words in ("1 " * 2000, "a1" * 2000, "-1" * 2000, "@ " * 2000, "1 mar" * 800, "a-" * 2000):
        start = time.perf_counter()
        mask(words)
        assert time.perf_counter() - start < 0.5


def test_the_day_of_a_card_bounds_its_outcome() -> None:
    offered = replace(OFFERED, issued_on=lambda _card: AT.date())
    items, rejected = parse_items(
        {"feedback": [item(outcomeTimestamp=f"2026-03-{day}T00:00:00Z") for day in (16, 17, 18)]}, offered
    )
    assert len(items) == 2
    assert [each.index for each in rejected] == [0]


json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
likely = st.dictionaries(
    st.sampled_from(
        ["card", "outcome", "outcomeTimestamp", "acceptedSuggestions", "overrideReason", "overrideReasons"],
    ),
    json | st.sampled_from(["accepted", "overridden", "2026-03-18T10:00:00Z"]),
)


@settings(max_examples=300, deadline=None, database=None)
@given(st.lists(likely | json, max_size=5))
def test_whatever_the_items_are_each_is_either_read_or_rejected(sent: list[object]) -> None:
    items, rejected = parse_items({"feedback": sent}, OFFERED)
    assert len(items) + len(rejected) == len(sent)
    assert all(isinstance(each, Rejected) for each in rejected)
    msgspec.json.encode(items)  # storable text throughout
