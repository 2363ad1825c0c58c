"""The report from the lines of the log: every number counted by hand, and nothing claimed that a line does not tell."""

from typing import Any

import msgspec
import pytest

from service.population.production import decisions, outcomes_of, summary_of_log

FEEDBACK = """rule,version,week,shown,accepted,overridden,reasons
R-011,2026.12.0,2026-W10,4,1,2,known=2
R-011,2026.12.0,2026-W11,2,0,1,not-stated=1
every-card,2026.12.0,2026-W10,7,1,2,known=2
"""


def line(day: int, hook: str = "patient-view", **members: Any) -> bytes:
    told = {"event": "decision", "time": f"2026-03-{day:02}T08:00:00Z", "hook": hook, "tenant": "a", "silent": True}
    return msgspec.json.encode(told | {"knowledge": "2026.12.0"} | members)


CARD = {"rules": ["R-011", "R-030"], "indicators": ["warning"]}
LOG = [
    b"[2026-03-01] [INFO] Booting worker",
    line(1),
    line(1, **CARD),
    line(2, repeated=["R-011"]),
    line(2, **CARD, withheld=True),
    line(10, rules=["R-022"], indicators=["info"], tenant="b", silent=False),
    line(10, "order-sign", rules=["R-092"], indicators=["critical"], failed=["R-040"]),
    msgspec.json.encode({"event": "feedback", "time": "2026-03-01T08:00:00Z", "tenant": "a"}),
]


def test_calls_cards_and_weeks_are_those_of_the_lines() -> None:
    told = summary_of_log(decisions(LOG))
    assert (told["events"], told["production"]["silentCalls"], told["repeatGuard"]) == (5, 4, True)
    assert (told["production"]["since"], told["production"]["until"]) == ("2026-03-01", "2026-03-10")
    openings, signed = told["burden"]["per100"].values()
    assert (openings["events"], openings["cards"], openings["loud"], openings["heldBack"]) == (4, 50.0, 25.0, 1)
    assert (signed["events"], signed["cards"], signed["critical"]) == (1, 100.0, 100.0)
    assert told["burden"]["months"] == {
        "2026-W09": {"days": 1 + 1, "cards": 1, "loud": 1},
        "2026-W10": {"days": 1, "cards": 0, "loud": 0},
        "2026-W11": {"days": 1, "cards": 1, "loud": 0},
    }
    assert told["burden"]["kinds"]["R-011"] == {"first": 1, "warning": 1}
    assert told["failedRules"] == {"R-040": {"in production": 1}}
    assert (told["sensitivity"], told["practice"]) == ({}, None)


def test_the_calls_of_one_tenant_alone() -> None:
    assert [call.rules for call in decisions(LOG, "b")] == [["R-022"]]


def test_outcomes_are_added_up_by_rule() -> None:
    every, one = outcomes_of(FEEDBACK.splitlines())
    assert (every["rule"], every["shown"]) == ("every-card", 7)
    assert one == {
        "rule": "R-011",
        "shown": 6,
        "accepted": 1,
        "overridden": 3,
        "reasons": {"known": 2, "not-stated": 1},
    }
    with pytest.raises(ValueError, match="no table of feedback"):
        outcomes_of(["a,b", "1,2"])


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
def test_the_page_says_what_became_of_cards_and_what_is_not_known(run: Any, tmp_path: Any, language: str) -> None:
    (tmp_path / "log").write_bytes(b"\n".join(LOG))
    (tmp_path / "feedback.csv").write_text(FEEDBACK)
    asked = ("--feedback", tmp_path / "feedback.csv", "--language", language)
    done = run("report", tmp_path / "log", "-o", tmp_path / "page.html", *asked)
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "page.html").read_text()
    assert "R-040" in page
    if language == "en":
        assert "What became of the cards" in page
        assert "not which results got none" in page


def test_a_log_without_calls_and_a_table_of_something_else_are_refused(run: Any, tmp_path: Any) -> None:
    (tmp_path / "log").write_bytes(LOG[0])
    assert run("report", tmp_path / "log", "-o", tmp_path / "page.html").exit_code == 1
    assert run("report", tmp_path / "log", "--feedback", tmp_path / "log").exit_code == 2
    assert not (tmp_path / "page.html").exists()
