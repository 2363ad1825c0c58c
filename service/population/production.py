"""Lines that the service logged -> the numbers of the report: what was said, or in silent mode would have been.

Each answered call is one line ("event": "decision") with hook, rules and levels, and nothing of the patient; calls
without a card are among them, so that shares are known. What such a line does not tell (words, results without a card,
practice) is left to a back-test.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import msgspec

from service.population.measure import LOUD

Json = dict[str, Any]
OPENING: Final = "patient-view"
_LEVELS: tuple[str, ...] = ("critical", "warning", "info")


class Decision(msgspec.Struct, frozen=True):
    """One answered call, as the log tells of it."""

    time: datetime
    hook: str
    event: str = ""
    tenant: str = ""
    rules: list[str] = []
    indicators: list[str] = []
    failed: list[str] = []
    repeated: list[str] = []
    withheld: bool = False
    silent: bool = False
    knowledge: str = ""


_decision: Final = msgspec.json.Decoder(Decision)


def decisions(lines: Iterable[bytes], tenant: str = "") -> Iterator[Decision]:
    """The calls among the lines of a log, of one tenant or of all; those whose reader was no clinician are left out."""
    for line in lines:
        try:
            found = _decision.decode(line)
        except msgspec.MsgspecError:
            continue  # another event, or a line of somebody else
        if found.event == "decision" and not found.withheld and tenant in {"", found.tenant}:
            yield found


@dataclass(slots=True)
class _Line:
    """Calls of one hook, or of one week."""

    events: int = 0
    levels: dict[str, int] = field(default_factory=dict)  # calls by their gravest card
    held_back: int = 0

    def add(self, call: Decision) -> None:
        """One more call."""
        self.events += 1
        self.held_back += bool(call.repeated)
        for level in _worst(call.indicators):
            self.levels[level] = self.levels.get(level, 0) + 1

    @property
    def cards(self) -> int:
        """Calls with a card."""
        return sum(self.levels.values())

    @property
    def loud(self) -> int:
        """Calls with a warning or a critical card."""
        return sum(number for level, number in self.levels.items() if level in LOUD)

    def per_100(self) -> Json:
        """As the report tells it; what the log does not know is None."""
        return {
            "events": self.events,
            "cards": _per_100(self.cards, self.events),
            "loud": _per_100(self.loud, self.events),
            "critical": _per_100(self.levels.get("critical", 0), self.events),
            "worst": self.levels,
            "first": self.cards,
            "again": None,
            "heldBack": self.held_back,
            "words": {"median": None, "longest": None, "all": 0},
        }


@dataclass(slots=True)
class _Tally:
    """What is counted of the calls of a log."""

    hooks: dict[str, _Line] = field(default_factory=dict)
    weeks: dict[str, _Line] = field(default_factory=dict)  # of chart openings
    kinds: dict[str, dict[str, int]] = field(default_factory=dict)  # by the rule that leads a card
    rules: dict[str, dict[str, int]] = field(default_factory=dict)
    failed: dict[str, dict[str, int]] = field(default_factory=dict)
    knowledge: set[str] = field(default_factory=set)
    silent: int = 0
    guarded: bool = False
    first: datetime | None = None
    last: datetime | None = None

    def add(self, call: Decision) -> None:
        """One more call."""
        self.hooks.setdefault(call.hook, _Line()).add(call)
        if call.hook == OPENING:
            self.weeks.setdefault(f"{call.time:%G-W%V}", _Line()).add(call)
        self.silent += call.silent
        self.guarded |= bool(call.repeated)
        self.knowledge |= {call.knowledge}
        self.first = min(self.first or call.time, call.time)
        self.last = max(self.last or call.time, call.time)
        for rule in call.failed:
            _count(self.failed, rule, "in production")
        self._add_card(call)

    def _add_card(self, call: Decision) -> None:
        for level in _worst(call.indicators):
            for name in ("first", level):
                _count(self.kinds, next(iter(call.rules), "data"), name)
            for rule in call.rules:
                _count(self.rules, rule, "first")
                _count(self.rules, rule, "loud", by=level in LOUD)


def summary_of_log(calls: Iterable[Decision], outcomes: Sequence[Json] = ()) -> Json:
    """The numbers of the report; `outcomes` are rows of what became of the cards, as `outcomes_of` reads them."""
    tally = _Tally()
    for call in calls:
        tally.add(call)
    events = sum(line.events for line in tally.hooks.values())
    return {
        "production": {
            "since": tally.first and tally.first.date().isoformat(),
            "until": tally.last and tally.last.date().isoformat(),
            "silentCalls": tally.silent,
            "outcomes": list(outcomes),
        },
        "knowledge": ", ".join(sorted(tally.knowledge)),
        "repeatGuard": tally.guarded,
        "patients": None,
        "patientsNotJudged": {},
        "events": events,
        "failedRules": tally.failed,
        "notPlacedInTime": {},
        "burden": _burden(tally),
        "sensitivity": {},
        "practice": None,
        "versus": [],
        "sweep": None,
        "skipped": {"total": 0, "reasons": {}},
    }


def _burden(tally: _Tally) -> Json:
    weeks = {name: {"days": w.events, "cards": w.cards, "loud": w.loud} for name, w in sorted(tally.weeks.items())}
    return {
        "per100": {hook: tally.hooks[hook].per_100() for hook in sorted(tally.hooks, key=_most_calls(tally))},
        "orenstein": {},
        "rules": _by_cards(tally.rules),
        "wards": {},
        "months": weeks,
        "kinds": _by_cards(tally.kinds),
        "frequent": [],
    }


def _most_calls(tally: _Tally) -> Any:
    return lambda hook: (hook != OPENING, -tally.hooks[hook].events, hook)


def _by_cards(counts: dict[str, dict[str, int]]) -> Json:
    return dict(sorted(counts.items(), key=lambda item: (-item[1]["first"], item[0])))


def _worst(indicators: Iterable[str]) -> list[str]:
    """The gravest level of a call's cards, or nothing."""
    said = set(indicators)
    return [level for level in _LEVELS if level in said][:1]


def _count(counts: dict[str, dict[str, int]], name: str, what: str, by: int = 1) -> None:
    line = counts.setdefault(name, {})
    line[what] = line.get(what, 0) + by


def _per_100(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


# ---- what became of the cards --------------------------------------------------------------------------------------


def outcomes_of(lines: Iterable[str]) -> list[Json]:
    """The CSV of `magnesium-cds feedback` or /v1/feedback/summary, its weeks and versions added up, by rule.

    Raises ValueError for another table.
    """
    table = csv.DictReader(lines)
    if not {"rule", "shown", "accepted", "overridden", "reasons"} <= set(table.fieldnames or ()):
        raise ValueError("no table of feedback: rule, version, week, shown, accepted, overridden, reasons")
    found: dict[str, Json] = {}
    for row in table:
        line = found.setdefault(row["rule"], {"shown": 0, "accepted": 0, "overridden": 0, "reasons": {}})
        for name in ("shown", "accepted", "overridden"):
            line[name] += int(row[name])
        for reason in (row["reasons"] or "").split():
            code, _, number = reason.rpartition("=")
            line["reasons"][code] = line["reasons"].get(code, 0) + int(number)
    return [{"rule": rule, **found[rule]} for rule in sorted(found, key=lambda rule: (-found[rule]["shown"], rule))]
