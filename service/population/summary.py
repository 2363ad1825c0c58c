"""The numbers of a replay as summary.json: burden, sensitivity, practice, for each configuration."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Any

from service.history.events import Kind
from service.population.measure import unpacked
from service.population.partition import Partition

Json = dict[str, Any]
_MOST_EXAMPLES = 20


def summary(counts: Json, found: Partition, asked: Mapping[str, Any]) -> Json:
    """The whole replay in numbers; the first configuration is the one in question."""
    configurations = [counts.get("configurations", {})[number] for number in sorted(counts.get("configurations", {}))]
    first, *rest = [_of_configuration(c) for c in configurations] or [_of_configuration({})]
    steps = list(asked["sweep"]["values"]) if asked.get("sweep") else []
    others, swept = rest[: len(rest) - len(steps)], rest[len(rest) - len(steps) :]
    return {
        **asked,
        "patients": counts.get("patients", 0),
        "patientsWithoutPatientResource": counts.get("without_patient_resource", 0),
        "patientsNotJudged": counts.get("not_judged", {}),
        **first,
        "versus": others,
        "sweep": _sweep(asked["sweep"]["parameter"], steps, swept) if steps else None,
        "resources": _most_frequent(found.resources),
        "unusedResources": _most_frequent(found.unused),
        "skipped": {"total": sum(found.broken.values()), "reasons": _most_frequent(found.broken)},
    }


def _of_configuration(counts: Json) -> Json:
    return {
        "events": sum(counts.get("events", {}).values()),
        "failedRules": counts.get("failed", {}),
        "notPlacedInTime": counts.get("unplaced", {}),
        "burden": _burden(counts),
        "sensitivity": _sensitivity(counts),
        "practice": _practice(counts.get("practice", {})),
        "changes": {
            kind: {"gained": 0, "lost": 0} | line | {"examples": counts["changed"][kind]}
            for kind, line in sorted(counts.get("changes", {}).items())
        },
    }


def _sweep(parameter: str, values: list[str], configurations: list[Json]) -> Json:
    """One line for each value of a threshold: burden of a chart day, and results outside the range with a card."""
    steps = []
    for value, told in zip(values, configurations, strict=True):
        days, found = told["burden"]["per100"].get("days", {"cards": None, "loud": None}), told["sensitivity"]
        all_ = sum(line["results"] for line in found.values())
        shown = sum(line["withCard"] for line in found.values())
        low, high = (found.get(grade, {}).get("withCard") for grade in ("low", "high"))
        step = {"value": value, "cards": days["cards"] or 0.0, "loud": days["loud"], "low": low, "high": high}
        steps.append(step | {"sensitivity": _per_100(shown, all_)})
    return {"parameter": parameter, "steps": steps}


def without_pictures(told: Json) -> Json:
    """The numbers, for those who compute with them."""
    rows = told["burden"]["frequent"]
    bare = [row | {"examples": [_bare(example) for example in row["examples"]]} for row in rows]
    return told | {"burden": told["burden"] | {"frequent": bare}}


def _bare(example: Json) -> Json:
    return {name: value for name, value in example.items() if name != "picture"}


# ---- burden --------------------------------------------------------------------------------------------------------


def _burden(counts: Json) -> Json:
    events = counts.get("events", {})
    return {
        "per100": {kind.value: _of_kind(kind.value, counts) for kind in Kind if kind.value in events},
        "orenstein": _orenstein(counts),
        "rules": {rule: counts["rules"][rule] for rule in _by_cards(counts.get("rules", {}))},
        "wards": {name: _rates(ward) for name, ward in sorted(counts.get("wards", {}).items())},
        "months": dict(sorted(counts.get("months", {}).items())),
        "kinds": {kind: counts["kinds"][kind] for kind in _by_cards(counts.get("kinds", {}))},
        "frequent": [
            {"kind": kind, "cards": _cards(counts["kinds"][kind]), "examples": list(counts["examples"][kind].values())}
            for kind in _by_cards(counts.get("kinds", {}))[:_MOST_EXAMPLES]
        ],
    }


def _of_kind(kind: str, counts: Json) -> Json:
    """One kind of event: how many, and per 100 of them."""
    events, levels = counts["events"][kind], counts.get("levels", {}).get(kind, {})
    cards, words = counts.get("cards", {}).get(kind, {}), sorted(unpacked(counts.get("words", {}).get(kind, {})))
    return {
        "events": events,
        "cards": _per_100(counts.get("with_card", {}).get(kind, 0), events),
        "loud": _per_100(counts.get("loud", {}).get(kind, 0), events),
        "critical": _per_100(levels.get("critical", 0), events),
        "worst": levels,
        "first": cards.get("first", 0),
        "again": cards.get("again", 0),
        "heldBack": counts.get("held_back", {}).get(kind, 0),
        "words": {"median": median(words) if words else 0, "longest": words[-1] if words else 0, "all": sum(words)},
    }


def _orenstein(counts: Json) -> Json:
    """The four measures of Orenstein (JAMIA 2021): per 100 chart openings, encounters, inpatient-days and orders."""
    stays, events = counts.get("stays", {}), counts.get("events", {})
    days = stays.get("hours", 0) / 24
    charts = [kind for kind in events if kind not in {Kind.ORDERS.value, Kind.LAB_ORDERS.value}]
    openings = sum(events[kind] for kind in charts)
    orders = sum(counts.get("drafts", {}).values())
    signed = [kind for kind in events if kind not in charts]
    return {
        "per100ChartOpenings": _all_and_loud(counts, charts, openings),
        "per100Encounters": {
            "cards": _per_100(stays.get("card", 0), stays.get("all", 0)),
            "loud": _per_100(stays.get("loud", 0), stays.get("all", 0)),
            "of": stays.get("all", 0),
        },
        "per100InpatientDays": _all_and_loud(counts, list(events), round(days)),
        "per100Orders": _all_and_loud(counts, signed, orders),
    }


def _all_and_loud(counts: Json, kinds: list[str], whole: int) -> Json:
    shown = sum(counts.get("with_card", {}).get(kind, 0) for kind in kinds)
    loud = sum(counts.get("loud", {}).get(kind, 0) for kind in kinds)
    return {"cards": _per_100(shown, whole), "loud": _per_100(loud, whole), "of": whole}


def _rates(ward: Json) -> Json:
    return {
        "days": ward["days"],
        "cards": _per_100(ward["cards"], ward["days"]),
        "loud": _per_100(ward["loud"], ward["days"]),
    }


def _by_cards(counts: Json) -> list[str]:
    return sorted(counts, key=lambda name: (-_cards(counts[name]), name))


def _cards(line: Json) -> int:
    return int(line.get("first", 0) + line.get("again", 0))


# ---- sensitivity, practice -----------------------------------------------------------------------------------------


def _sensitivity(counts: Json) -> Json:
    """New magnesium results outside the range: with a card, without one and why; empty without result events."""
    told = {}
    for grade in ("critical", "low", "high"):
        line = counts.get("results", {}).get(grade, {"all": 0})
        examples = sorted(counts.get("silent", {}).get(grade, {}).values(), key=lambda one: one["order"])
        told[grade] = {
            "results": line["all"],
            "withCard": line.get("card", 0),
            "withLoudCard": line.get("loud", 0),
            "withoutCard": _most_frequent(line.get("silent", {})),
            "examples": examples[:_MOST_EXAMPLES],
        }
    return told if Kind.RESULTS.value in counts.get("events", {}) else {}


_LEVELS = ("normal", "low", "high", "unclassified", "no level")


def _practice(practice: Json) -> Json:
    doses, tests, lows = (practice.get(name, {}) for name in ("doses", "tests", "lows"))
    hours = practice.get("hours to repletion", {})
    known = sorted(unpacked({value: number for value, number in hours.items() if value != "never"}))
    return {
        "intravenousDoses": {"all": sum(doses.values()), **dict.fromkeys(_LEVELS, 0), **_most_frequent(doses)},
        "tests": {
            "all": tests.get("all", 0),
            "within48h": tests.get("again", 0),
            "within48hAfterNormal": tests.get("again after normal", 0),
        },
        "inpatientLows": {"treatedWithin24h": lows.get("treated", 0), "untreatedAfter24h": lows.get("untreated", 0)},
        "hoursToRepletion": {
            "median": median(known) if known else None,
            "n": len(known),
            "never": hours.get("never", 0),
        },
    }


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _per_100(part: int, whole: int) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
