"""Is a finding news? What decision 25 says, at each of its limits, and what holds whatever the numbers are."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.logic.model import Indicator
from service.logic.repeat_guard import (
    MG_SHIFT,
    Sighting,
    Situation,
    Statement,
    interval,
    is_news,
    is_repeat,
    is_worse,
    sighting,
    situation,
    statements,
)
from tests.vignettes.patients import judged, patient

INFO, WARNING, CRITICAL = Indicator
SHOWN = datetime(2026, 3, 18, 10, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SECOND = timedelta(seconds=1)
LOW = Situation(Decimal("0.55"), -1, 2, frozenset({"drug furosemide"}))


def said(level: Indicator = WARNING, interval: timedelta = DAY, **more: object) -> Statement:
    return Statement(("R-011", "moderate"), level, interval, **more)  # type: ignore[arg-type]


def seen(level: Indicator = WARNING, **more: object) -> Sighting:
    return Sighting(level, SHOWN, LOW, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "interval", "after", "news"),
    [
        (WARNING, DAY, timedelta(0), False),
        (WARNING, DAY, DAY - SECOND, False),
        (WARNING, DAY, DAY, True),
        (CRITICAL, HOUR, HOUR - SECOND, False),
        (CRITICAL, HOUR, HOUR, True),
        (INFO, 7 * DAY, 7 * DAY - SECOND, False),
        (INFO, 7 * DAY, 7 * DAY, True),
    ],
)
def test_the_same_is_not_said_again_within_its_interval(
    level: Indicator, interval: timedelta, after: timedelta, news: bool
) -> None:
    assert is_news(said(level, interval), LOW, seen(level), SHOWN + after) is news


def test_what_was_never_shown_is_news() -> None:
    assert is_news(said(), LOW, None, SHOWN)


def test_a_clock_that_was_set_back_holds_nothing_back() -> None:
    assert is_news(said(), LOW, seen(), SHOWN - timedelta(minutes=6))
    assert not is_news(said(), LOW, seen(), SHOWN - timedelta(minutes=5))


def test_a_higher_level_speaks_and_a_lower_one_does_not() -> None:
    assert is_news(said(CRITICAL, HOUR), LOW, seen(WARNING), SHOWN)
    assert not is_news(said(INFO, 7 * DAY), LOW, seen(WARNING), SHOWN)


@pytest.mark.parametrize(("level", "news"), [(INFO, False), (WARNING, False), (CRITICAL, True)])
def test_a_newer_result_makes_only_a_critical_finding_news(level: Indicator, news: bool) -> None:
    before = seen(level, newest=SHOWN - HOUR)
    assert is_news(said(level, newest=SHOWN - HOUR + SECOND), LOW, before, SHOWN) is news
    assert not is_news(said(level, newest=SHOWN - HOUR), LOW, before, SHOWN)


def test_an_overridden_finding_rests_for_its_interval_again() -> None:
    overridden = seen(overridden_at=SHOWN + 12 * HOUR)
    assert not is_news(said(), LOW, overridden, SHOWN + 36 * HOUR - SECOND)
    assert is_news(said(), LOW, overridden, SHOWN + 36 * HOUR)


def test_an_emergency_rests_only_within_an_hour_of_the_users_own_override() -> None:
    emergency = said(CRITICAL, HOUR, emergency=True)
    assert is_news(emergency, LOW, seen(CRITICAL), SHOWN)
    overridden = seen(CRITICAL, overridden_at=SHOWN)
    assert not is_news(emergency, LOW, overridden, SHOWN + HOUR - SECOND)
    assert is_news(emergency, LOW, overridden, SHOWN + HOUR)
    assert is_news(emergency, replace(LOW, facts=frozenset({"torsades"})), overridden, SHOWN)


WORSE: dict[str, tuple[Situation, bool]] = {
    "nothing changed": (LOW, False),
    "0.10 lower": (replace(LOW, mg=Decimal("0.45")), True),
    "0.09 lower": (replace(LOW, mg=Decimal("0.46")), False),
    "0.10 higher": (replace(LOW, mg=Decimal("0.65")), False),
    "a graver tier": (replace(LOW, tier=3), True),
    "a milder tier": (replace(LOW, tier=1), False),
    "high instead": (Situation(Decimal("1.3"), 1, 1, LOW.facts), True),
    "back in range": (Situation(Decimal("0.80"), 0, 0, LOW.facts), False),
    "no longer measured": (Situation(None, 0, 0, LOW.facts), False),
    "a new fact": (replace(LOW, facts=LOW.facts | {"kidney gate closed"}), True),
    "a fact less": (replace(LOW, facts=frozenset()), False),
}


@pytest.mark.parametrize(("now", "worse"), WORSE.values(), ids=list(WORSE))
def test_what_got_worse(now: Situation, worse: bool) -> None:
    assert is_worse(now, LOW) is worse


def test_a_high_gets_worse_upwards() -> None:
    high = Situation(Decimal("1.30"), 1, 1)
    assert is_worse(replace(high, mg=Decimal("1.40")), high)
    assert not is_worse(replace(high, mg=Decimal("1.20")), high)
    assert is_worse(high, Situation())


def test_a_card_is_a_repeat_only_if_all_it_says_is_and_an_empty_one_never() -> None:
    other = replace(said(), key=("R-040", "low"))
    known = {said().key: seen()}
    assert is_repeat([said()], LOW, known, SHOWN)
    assert not is_repeat([said(), other], LOW, known, SHOWN)
    assert not is_repeat([], LOW, known, SHOWN)


# ---- whatever the numbers are ---------------------------------------------------------------------------------------

levels = st.sampled_from(Indicator)
spans = st.timedeltas(timedelta(0), timedelta(days=400))
moments = st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
situations = st.builds(
    Situation,
    st.none() | st.decimals(Decimal("0.05"), Decimal(15), places=2),
    st.sampled_from((-1, 0, 1)),
    st.integers(0, 4),
    st.frozensets(st.sampled_from("abcdef")),
)
said_things = st.builds(Statement, st.just(("R", "x")), levels, spans, st.booleans(), st.none() | moments)


@given(said_things, situations, moments, spans)
def test_what_was_just_shown_is_news_again_exactly_when_its_interval_is_over_or_it_is_an_emergency(
    one: Statement, now: Situation, at: datetime, later: timedelta
) -> None:
    shown = sighting(one, now, at)
    assert is_news(one, now, shown, at + later) is (one.emergency or later >= one.interval)


@given(said_things, situations, situations, moments)
def test_whatever_is_worse_speaks_and_time_alone_never_silences(
    one: Statement, before: Situation, now: Situation, at: datetime
) -> None:
    shown = Sighting(one.level, at, before, one.newest)
    if is_worse(now, before):
        assert is_news(one, now, shown, at)
    if is_news(one, now, shown, at):
        assert is_news(one, now, shown, at + DAY)


@given(situations, situations)
def test_two_situations_are_not_each_worse_by_their_magnesium_alone(one: Situation, other: Situation) -> None:
    same = replace(other, facts=one.facts, side=one.side, tier=one.tier)
    assert not (is_worse(one, same) and is_worse(same, one)) or None in (one.mg, other.mg)
    if one.mg is not None and other.mg is not None and abs(one.mg - other.mg) < MG_SHIFT:
        assert not is_worse(one, same)


# ---- of a chart -----------------------------------------------------------------------------------------------------


def test_what_a_chart_holds_that_may_get_worse() -> None:
    assessed = judged(patient("mg 0.45 mmol/L", "k 2.9 mmol/L", drugs=["furosemide"]))
    found = situation(assessed.case)
    assert (found.mg, found.side) == (Decimal("0.45"), -1)
    assert {"low potassium", "drug furosemide"} <= found.facts
    spoken = [rule for rule in ("R-011", "R-040") if assessed.outcome(rule)]
    assert {one.key[0] for one in statements(spoken, assessed)} == {"R-011", "R-040"}


@pytest.mark.parametrize(
    ("rule", "level", "setting", "hours"),
    [
        ("R-011", CRITICAL, "ward", 1),
        ("R-011", WARNING, "ward", 24),
        ("R-011", WARNING, "clinic", 30 * 24),
        ("R-011", INFO, "ward", 7 * 24),
        ("R-054", INFO, "ward", 30 * 24),
        ("R-054", WARNING, "ward", 30 * 24),
        ("R-054", CRITICAL, "ward", 1),
        ("R-060", INFO, "clinic", 365 * 24),
        ("R-022", INFO, "clinic", 365 * 24),
    ],
)
def test_the_intervals_of_decision_25(rule: str, level: Indicator, setting: str, hours: int) -> None:
    assert interval(rule, level, judged(patient("mg 0.60 mmol/L", setting=setting)).case) == hours * HOUR


def test_another_order_and_its_signature_are_news() -> None:
    def of(hook: str, order: str) -> Situation:
        return situation(judged(patient("mg 0.80 mmol/L", orders=[order], hook=hook)).case)

    small, large = "magnesium sulfate, iv, 2000 mg, once", "magnesium sulfate, iv, 6000 mg, once"
    assert not is_worse(of("order-select", small), of("order-select", small))
    assert is_worse(of("order-select", large), of("order-select", small))
    assert is_worse(of("order-sign", small), of("order-select", small))
    assert not is_worse(of("order-select", small), of("order-sign", small))


def test_an_emergency_in_the_chart_is_one_in_what_is_said() -> None:
    assessed = judged(patient("mg 0.60 mmol/L", conditions=["torsades"], setting="ward"))
    emergencies = {
        one.key[0] for one in statements([r.rule.id for r in assessed.judgements], assessed) if one.emergency
    }
    assert "R-072" in emergencies
