"""The job `screen`: one patient -> findings at one moment; and one bucket -> a result file, patient by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from service.cds.cards import Presentation
from service.decide import Decision, decide
from service.fhir.decode import Resource
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import Site
from service.logic.evaluate import RuleResult
from service.logic.model import Finding, Hook, Withheld
from service.population.outcome import Tally, count, result_files, take
from service.population.partition import Kept, bucket_file, patients_in
from service.population.record import Find, resources_of, shared_finder

ENCODER: Final = msgspec.json.Encoder(decimal_format="number")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Setup:
    """What a site decides about reading, judging and wording."""

    site: Site
    how: Presentation


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of every patient; can be sent to another process, which calls `prepare` with it, once."""

    as_of: datetime
    hook: Hook
    prepare: Callable[[Options], Setup]
    site: Path | None = None
    profile: str = ""
    research: bool = False


@lru_cache(maxsize=1)
def prepared(options: Options) -> Setup:
    """The site's decisions, read once in a process."""
    return options.prepare(options)


# ---- one patient ----------------------------------------------------------------------------------------------------


def screen_patient(patient: str, resources: Iterable[Resource], options: Options, setup: Setup) -> Decision:
    """Judge one patient at one moment. No files, no batch: whoever has the resources can call it."""
    chart = EvaluationInput(patient_id=patient, as_of=options.as_of, hook=options.hook, resources=tuple(resources))
    return decide(chart, setup.site, setup.how)


def rows_of(decision: Decision) -> Iterator[Json]:
    """The findings of a decision, those withheld too, without sentences."""
    patient = decision.assessment.patient
    whose = {"patient": patient.reference, "asOf": patient.as_of.isoformat().replace("+00:00", "Z")}
    shown = {rule for card in decision.cards for rule in card.stated}
    for result in decision.assessment.judgements:
        if isinstance(result.outcome, Finding | Withheld):
            yield whose | _told(result, shown)


def _told(result: RuleResult, shown: set[str]) -> Json:
    """A finding in codes. Of a withheld one no values are told: they may be a dose that is not to be given."""
    rule, outcome = result.rule, result.outcome
    told: Json = {"rule": rule.id, "name": rule.name}
    if isinstance(outcome, Withheld):
        found, told = outcome.finding, told | {"outcome": "withheld", "gate": outcome.gate}
    else:
        assert isinstance(outcome, Finding)  # noqa: S101  `rows_of` passes no others
        found, told = outcome, told | {"outcome": "finding"}
    told |= {"result": found.result, "indicator": found.indicator.value}
    told["shown"] = found is outcome and rule.id in shown
    if found is outcome and found.values:
        told["values"] = dict(found.values)
    return told | {"evidence": list(found.evidence)}


# ---- one bucket -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """A bucket to judge, and where it lies; can be sent to another process."""

    number: int
    spill: Path
    results: Path
    files: tuple[str, ...]
    options: Options


def screen_bucket(task: Task) -> int:
    """Judge the patients of a bucket and store the result, whole or not at all; the number of patients."""
    setup = prepared(task.options)
    tally = Tally()
    rows_file, tally_file = result_files(task.results, task.number)
    draft = rows_file.with_suffix(".draft")
    with shared_finder(task.spill) as find, draft.open("wb") as out:
        for patient, lines in patients_in(bucket_file(task.spill, task.number)):
            rows = _screened(patient, lines, find, task, setup, tally)
            out.writelines(ENCODER.encode(row) + b"\n" for row in rows)
    draft.replace(rows_file)
    draft.write_bytes(msgspec.json.encode(tally))
    draft.replace(tally_file)
    return tally.patients


def _screened(patient: str, lines: list[Kept], find: Find, task: Task, setup: Setup, tally: Tally) -> list[Json]:
    """The rows of one patient; a fault of ours costs this patient and is counted, not the whole screening."""
    tally.patients += 1
    tally.without_patient_resource += all(line.head.resource_type != "Patient" for line in lines)
    try:
        decision = screen_patient(patient, resources_of(patient, lines, find, task.files), task.options, setup)
        rows = list(rows_of(decision))
    except Exception as error:  # noqa: BLE001  hours of work must not be lost to one chart
        count(tally.not_judged, type(error).__name__)
        return [{"patient": f"Patient/{patient}", "asOf": task.options.as_of, "outcome": "not-judged"}]
    take(decision, tally)
    return rows
