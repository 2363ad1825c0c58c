"""Cards of the past, computed again from what was sent: each at its moment, of this patient alone, within a bound."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from service.cds.cards import Presentation
from service.cds.i18n import Wording
from service.fhir.snapshot import Site
from service.history.source import sources_in
from service.logic.knowledge import load
from service.logic.model import Indicator
from service.replay import spoken as module
from service.replay.spoken import Spoken, spoken
from tests.contract.messages import PATIENT, bundle

NOW = datetime(2026, 3, 10, 10, tzinfo=UTC)
SITE, HOW = Site(UTC, load()), Presentation(Wording("en", UTC))


def magnesium(value: float, ago: timedelta, number: int = 0, patient: str = "p1") -> dict[str, Any]:
    return {
        "resourceType": "Observation", "id": f"mg{patient}{number}", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "2601-3"}]},
        "subject": {"reference": f"Patient/{patient}"}, "effectiveDateTime": (NOW - ago).isoformat(),
        "issued": (NOW - ago).isoformat(),
        "valueQuantity": {"value": value, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
    }  # fmt: skip


def said(sent: Any) -> Spoken:
    return spoken(sources_in(msgspec.json.encode(sent)), "p1", NOW, SITE, HOW)


DAY = timedelta(days=1)
LOW, OLD = magnesium(0.35, 2 * DAY), magnesium(0.55, 40 * DAY, 1)
WAYS = {
    "a Bundle": bundle(PATIENT, LOW, OLD),
    "an array": [PATIENT, LOW, OLD],
    "Bundles in an array": [bundle(PATIENT), bundle(LOW, OLD)],
    "a broken entry beside it": {
        "resourceType": "Bundle",
        "entry": [3, {"resource": 5}, *bundle(PATIENT, LOW, OLD)["entry"]],
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_each_card_of_the_past_at_its_moment(way: str) -> None:
    found = said(WAYS[way])
    assert [card.at for card in found.cards] == [NOW - 40 * DAY, NOW - 2 * DAY]
    assert [card.indicator for card in found.cards] == [Indicator.WARNING, Indicator.CRITICAL]
    assert "0.55" in found.cards[0].words
    assert "0.35" in found.cards[1].words
    assert found.since is None


def test_the_moment_of_the_picture_and_what_is_no_news_are_left_out() -> None:
    again = [magnesium(0.55, timedelta(hours=hours), hours) for hours in (0, 30, 31, 32)]
    assert [card.at for card in said(bundle(PATIENT, *again)).cards] == [NOW - timedelta(hours=32)]


def test_no_result_of_another_patient_is_a_moment_of_this_one() -> None:
    other = magnesium(0.30, 3 * DAY, 0, "p2")
    assert [card.at for card in said(bundle(PATIENT, {"resourceType": "Patient", "id": "p2"}, LOW, other)).cards] == [
        NOW - 2 * DAY
    ]


def test_the_newest_moments_are_judged_again_and_the_rest_is_said_not_to_be() -> None:
    many = [magnesium(0.9 - 0.01 * number, (50 - number) * DAY, number) for number in range(module.MOST + 5)]
    found = said(bundle(PATIENT, *many))
    assert found.since == NOW - 45 * DAY
    assert all(card.at >= found.since for card in found.cards)


@pytest.mark.parametrize("sent", [3, None, "a", {}, [], {"resourceType": "Bundle", "entry": "no"}, [[[]]]])
def test_what_cannot_be_read_gives_no_card(sent: Any) -> None:
    assert said(sent) == Spoken()


def test_rules_of_the_site_hold_for_the_past_too() -> None:
    off = replace(HOW, rules_off=frozenset({"R-011", "R-014", "R-010"}))
    found = spoken(sources_in(msgspec.json.encode(WAYS["an array"])), "p1", NOW, SITE, off)
    assert not any("Low Mg" in card.words for card in found.cards)
