"""Feedback that can be trusted, by real calls: whose card it was, what became of it, and what a tenant sees of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.cds.services import SERVICES
from tests.api.apps import VIEW, RunningApp, bearer, locked_app
from tests.api.test_hooks import ordering
from tests.contract.messages import Json, hook_request

SUMMARY = "/v1/feedback/summary"
OTHER = "https://other.example"
OTHER_TENANT = f"""
        [[tenant]]
        name = "other"
        iss = "{OTHER}"
        jwks_file = "keys.json"
"""
REASON = {"code": "already-treated", "system": "urn:magnesium-cds:override-reasons"}
SELECT = "/cds-services/magnesium-order-select"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[RunningApp]:
    """Two tenants, "clinic" and "other", on one service whose site has no secret."""
    with locked_app(tmp_path, tenant=OTHER_TENANT) as running:
        yield running


def post(house: RunningApp, path: str, body: Json, **claims: Any) -> Json:
    answer = house.client.post(path, json=body, headers=bearer(path, **claims))
    assert answer.status_code == 200, answer.text
    return dict(answer.json)  # type: ignore[arg-type]


def a_card(house: RunningApp) -> Json:
    return dict(post(house, VIEW, hook_request())["cards"][0])


def a_card_with_a_suggestion(house: RunningApp) -> Json:
    return dict(post(house, SELECT, ordering("cisplatin"))["cards"][0])


def report(house: RunningApp, card: str, outcome: str = "overridden", path: str = VIEW, **said: Any) -> Json:
    """The answer to a report, by the tenant "clinic" unless its issuer is stated."""
    claims = {"iss": said.pop("iss")} if "iss" in said else {}
    item = {"card": card, "outcome": outcome, "outcomeTimestamp": "2026-11-20T09:00:00Z"} | said
    return post(house, f"{path}/feedback", {"feedback": [item]}, **claims)


def totals(house: RunningApp, rule: str = "every-card", **claims: Any) -> tuple[int, int, int, dict[str, int]]:
    """Shown, accepted, overridden and why, of a rule or of every card, once all is stored."""
    until = time.monotonic() + 10
    while house.app.extensions["dependencies"].store.waiting and time.monotonic() < until:
        time.sleep(0.01)
    answer = house.client.get(SUMMARY, headers=bearer(SUMMARY, **claims))
    rows = [row for row in answer.json["rows"] if row["rule"] == rule]  # type: ignore[index]
    why: dict[str, int] = {}
    for row in rows:
        why = {code: why.get(code, 0) + number for code, number in row["reasons"].items()} | why
    return sum(r["shown"] for r in rows), sum(r["accepted"] for r in rows), sum(r["overridden"] for r in rows), why


def test_a_card_counts_once_for_itself_and_once_for_each_rule_it_states(house: RunningApp) -> None:
    card = a_card(house)
    a_card(house)
    assert report(house, card["uuid"], overrideReason={"reason": REASON})["unknownCards"] == 0
    stated = [found["rule"] for found in card["extension"]["org.magnesium-cds.findings"]]
    assert len(stated) > 1
    assert {rule: totals(house, rule) for rule in ["every-card", *stated]} == {
        rule: (2, 0, 1, {"already-treated": 1}) for rule in ["every-card", *stated]
    }


@pytest.mark.parametrize("service", [service.id for service in SERVICES if service.id != "magnesium-patient-view"])
def test_another_service_does_not_know_the_card(house: RunningApp, service: str) -> None:
    card = a_card(house)
    assert report(house, card["uuid"], path=f"/cds-services/{service}")["unknownCards"] == 1
    assert totals(house)[:3] == (1, 0, 1)  # the report about an unknown card has a row of its own
    assert totals(house, "unknown")[:3] == (0, 0, 1)
    assert totals(house, "R-011")[:3] == (1, 0, 0)


def test_another_tenant_neither_reports_on_the_card_nor_sees_it(house: RunningApp) -> None:
    card = a_card(house)
    assert report(house, card["uuid"], iss=OTHER)["unknownCards"] == 1
    assert totals(house)[:3] == (1, 0, 0)
    assert totals(house, "unknown")[:3] == (0, 0, 0)
    assert totals(house, iss=OTHER)[:3] == (0, 0, 1)
    assert totals(house, "R-011", iss=OTHER)[:3] == (0, 0, 0)


def test_a_card_is_known_from_the_moment_its_answer_leaves(house: RunningApp) -> None:
    """While the store cannot write: nothing but the id says whose card it is."""
    store = house.app.extensions["dependencies"].store
    stored: list[Any] = []
    store.remember_cards = stored.extend  # its rows never arrive
    card = a_card(house)
    assert stored
    assert report(house, card["uuid"])["unknownCards"] == 0
    assert report(house, card["uuid"][:-1] + ("0" if card["uuid"][-1] != "0" else "1"))["unknownCards"] == 1


def test_what_was_not_offered_counts_as_other(house: RunningApp) -> None:
    reasons = [{"code": "x-9", "system": "urn:theirs", "display": "Mrs Smith said no"}, REASON, None]
    for reason in reasons:
        report(house, a_card(house)["uuid"], **({"overrideReason": {"reason": reason}} if reason else {}))
    assert totals(house) == (3, 0, 3, {"other": 1, "already-treated": 1, "not-stated": 1})


def test_an_accepted_suggestion_is_known_by_its_id(house: RunningApp) -> None:
    card = a_card_with_a_suggestion(house)
    taken = [{"id": card["suggestions"][0]["uuid"]}, {"id": "a-stranger"}]
    told = report(house, card["uuid"], "accepted", SELECT, acceptedSuggestions=taken)
    assert (told["accepted"], told["unknownCards"]) == (1, 0)
    with house.app.extensions["dependencies"].store._engine.connect() as database:
        kept = database.exec_driver_sql("SELECT suggestions FROM feedback").scalar_one()
    assert kept == f'["{card["suggestions"][0]["uuid"]}","other"]'
    assert totals(house)[:3] == (1, 1, 0)


def test_a_report_that_comes_twice_counts_once(house: RunningApp) -> None:
    card = a_card(house)["uuid"]
    answers = [report(house, card) for _ in range(3)]
    assert [(each["accepted"], each["duplicates"]) for each in answers] == [(1, 0), (0, 1), (0, 1)]
    again = report(house, card, outcomeTimestamp="2026-11-20T09:00:07Z")  # sent anew with a time of its own
    assert again["accepted"] == 1
    assert totals(house)[:3] == (1, 0, 1)


@pytest.mark.parametrize("late_first", [False, True])
def test_of_several_reports_the_latest_outcome_counts_whenever_it_comes(house: RunningApp, late_first: bool) -> None:
    card = a_card_with_a_suggestion(house)
    taken = {"acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}]}
    said = [("overridden", "2026-11-20T09:01:00Z", {}), ("accepted", "2026-11-20T09:02:00Z", taken)]
    for outcome, at, more in reversed(said) if late_first else said:
        report(house, card["uuid"], outcome, SELECT, outcomeTimestamp=at, **more)
    assert totals(house)[:3] == (1, 1, 0)


def test_the_table_of_a_tenant_is_to_be_had_as_csv(house: RunningApp) -> None:
    report(house, a_card(house)["uuid"], overrideReason={"reason": REASON})
    totals(house)
    answer = house.client.get(SUMMARY, headers=bearer(SUMMARY) | {"Accept": "text/csv"})
    lines = answer.text.splitlines()
    assert answer.mimetype == "text/csv"
    assert lines[0] == "rule,version,week,shown,accepted,overridden,reasons"
    assert lines[-1].startswith("every-card,")
    assert lines[-1].endswith(",2026-W47,1,0,1,already-treated=1")
    theirs = house.client.get(SUMMARY, headers=bearer(SUMMARY, iss=OTHER) | {"Accept": "text/csv"})
    assert theirs.text.splitlines() == lines[:1]
