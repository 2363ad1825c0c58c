"""The job `screen`: one patient -> findings at one moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.decide import Decision, decide
from service.fhir.ownership import EvaluationInput
from service.logic.evaluate import RuleResult
from service.logic.model import Finding, Hook, Withheld
from service.population.bucket import Judged
from service.population.outcome import counts_of_decision
from service.population.record import Chart
from service.population.setup import Configuration, prepared

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of every patient; can be sent to another process."""

    as_of: datetime
    hook: Hook
    configuration: Configuration


def screen(chart: Chart, options: Options) -> Judged:
    """Judge one patient at one moment. No files, no batch: whoever has the resources can call it."""
    setup = prepared(options.configuration)
    asked = EvaluationInput(chart.patient, options.as_of, options.hook, resources=tuple(chart.resources()))
    decision = decide(asked, setup.site, setup.how)
    return Judged(rows_of(decision), counts_of_decision(decision))


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
