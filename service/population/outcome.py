"""What the buckets gave, put together: findings.ndjson or findings.csv, and summary.json."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from service.cds.selection import Selected, indicator_of
from service.logic.evaluate import Assessment
from service.logic.knowledge import VERSION
from service.logic.model import Failed, Finding, MissingInputs, NotMet, Off, Outcome, Withheld
from service.population.bucket import counts_of, rows_of
from service.population.partition import Partition

FORMATS: Final = ("ndjson", "csv")
COLUMNS: Final = (
    "patient", "asOf", "rule", "name", "outcome", "gate", "result", "indicator", "shown", "values", "evidence",
)  # fmt: skip
_OUTCOMES: Final[Mapping[type, str]] = {
    Finding: "finding", NotMet: "not-met", MissingInputs: "lacking", Failed: "failed", Withheld: "withheld",
    Off: "off",
}  # fmt: skip
Json = dict[str, Any]
Counts = dict[str, int]
Nested = dict[str, Counts]


class Tally(msgspec.Struct):
    """Numbers of some patients; those of several buckets are added."""

    patients: int = 0
    with_card: int = 0
    without_patient_resource: int = 0
    indicators: Counts = msgspec.field(default_factory=dict)  # of cards
    outcomes: Nested = msgspec.field(default_factory=dict)  # rule -> outcome
    results: Nested = msgspec.field(default_factory=dict)  # rule -> result of its findings
    shown: Counts = msgspec.field(default_factory=dict)  # rule -> findings on a card
    lacking: Nested = msgspec.field(default_factory=dict)  # rule -> input
    failed: Nested = msgspec.field(default_factory=dict)  # rule -> error
    issues: Counts = msgspec.field(default_factory=dict)  # resources that could not be used, by reason
    not_judged: Counts = msgspec.field(default_factory=dict)  # patients lost to a fault of ours, by kind of error


def counts_of_card(assessment: Assessment, card: Selected | None) -> Json:
    """One patient as numbers, without the patient itself; `card` is what a card would state."""
    tally = Tally()
    _take(assessment, card, tally)
    counts: Json = msgspec.to_builtins(tally)
    return {name: counts[name] for name in counts if name not in {"patients", "without_patient_resource", "not_judged"}}


def _take(assessment: Assessment, card: Selected | None, tally: Tally) -> None:
    if card is not None:
        tally.with_card += 1
        count(tally.indicators, indicator_of(card).value)
    for issue in assessment.patient.issues:
        count(tally.issues, issue.problem.template)  # without its values, which are the patient's
    for rule in card.rules if card else ():
        count(tally.shown, rule)
    for result in assessment.judgements:
        _take_outcome(result.rule.id, result.outcome, tally)


def _take_outcome(rule: str, outcome: Outcome, tally: Tally) -> None:
    count(tally.outcomes.setdefault(rule, {}), _OUTCOMES[type(outcome)])
    if isinstance(outcome, Finding):
        count(tally.results.setdefault(rule, {}), outcome.result)
    elif isinstance(outcome, MissingInputs):
        for name in outcome.inputs:
            count(tally.lacking.setdefault(rule, {}), name)
    elif isinstance(outcome, Failed):
        count(tally.failed.setdefault(rule, {}), outcome.error)


def count(counts: Counts, name: str) -> None:
    """One more."""
    counts[name] = counts.get(name, 0) + 1


# ---- files ----------------------------------------------------------------------------------------------------------


def write_rows(folder: Path, numbers: Sequence[int], target: Path) -> None:
    """The rows of all buckets in one file, by its suffix as NDJSON or CSV; whole or not at all."""
    draft = target.with_suffix(".draft")
    with draft.open("wb") as out:
        if target.suffix == ".csv":
            out.write(_csv(COLUMNS))
        rows = rows_of(folder, numbers)
        out.writelines(map(_as_csv, rows) if target.suffix == ".csv" else rows)
    draft.replace(target)


def _as_csv(line: bytes) -> bytes:
    row = msgspec.json.decode(line)
    row["values"] = "; ".join(f"{name}={value}" for name, value in row.get("values", {}).items())
    row["evidence"] = "; ".join(row.get("evidence", ()))
    row["shown"] = "true" if row.get("shown") else "false"
    return _csv([row.get(name, "") for name in COLUMNS])


def _csv(cells: Sequence[str]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue().encode()


# ---- summary --------------------------------------------------------------------------------------------------------


def total_of(folder: Path, numbers: Iterable[int]) -> Tally:
    """The numbers of all buckets."""
    return msgspec.convert(counts_of(folder, numbers), Tally)


def summary(tally: Tally, found: Partition, asked: Mapping[str, Any]) -> Json:
    """The screening in numbers. `firingRate` is the share of patients with a card."""
    judged = tally.patients - sum(tally.not_judged.values())
    return {
        **asked,
        "knowledge": {"version": VERSION},
        "patients": tally.patients,
        "patientsWithCard": tally.with_card,
        "firingRate": _share(tally.with_card, judged),
        "patientsWithoutPatientResource": tally.without_patient_resource,
        "patientsNotJudged": _sorted(tally.not_judged),
        "cards": {name: tally.indicators.get(name, 0) for name in ("critical", "warning", "info")},
        "rules": {rule: dict(_of_rule(rule, tally, judged)) for rule in tally.outcomes},
        "issues": _sorted(tally.issues),
        "resources": _sorted(found.resources),
        "unusedResources": _sorted(found.unused),
        "skipped": {
            "total": sum(found.broken.values()),
            "reasons": _sorted(found.broken),
            "first": [
                f"{b.file}:{b.line}: {b.reason}" + (f" ({b.detail})" if b.detail else "") for b in found.examples
            ],
        },
    }


def _of_rule(rule: str, tally: Tally, judged: int) -> Iterator[tuple[str, Any]]:
    outcomes = tally.outcomes[rule]
    yield from (
        (name, outcomes.get(name, 0)) for name in ("finding", "withheld", "not-met", "off", "lacking", "failed")
    )
    yield "shown", tally.shown.get(rule, 0)
    yield "firingRate", _share(tally.shown.get(rule, 0), judged)
    for name, counts in (("results", tally.results), ("lackingInputs", tally.lacking), ("errors", tally.failed)):
        if rule in counts:
            yield name, _sorted(counts[rule])


def _sorted(counts: Counts) -> Counts:
    """The most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0
