"""The job `screen`: one patient -> findings at one moment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from service.cds.selection import Selected, select
from service.fhir.observation import meaning_of
from service.fhir.ownership import EvaluationInput
from service.fhir.snapshot import read_snapshot
from service.logic.evaluate import Assessment, RuleResult, evaluate
from service.logic.model import Finding, Hook, Withheld
from service.population.bucket import Judged
from service.population.export import Head
from service.population.outcome import counts_of_card
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
    """Judge one patient at one moment, up to what a card would state; it is not worded, for nobody reads it."""
    setup = prepared(options.configuration)
    asked = EvaluationInput(chart.patient, options.as_of, options.hook, resources=tuple(chart.resources()))
    assessment = evaluate(read_snapshot(asked, setup.site), setup.site.knowledge, off=setup.how.rules_off)
    card = select(assessment, setup.site.knowledge, setup.how.silent)
    return Judged(rows_of(assessment, card), counts_of_card(assessment, card))


_CODES: Final = re.compile(rb'"code"\s*:\s*[\[{]')
_LATER_VERSIONS: Final = {"amended", "corrected", "entered-in-error"}


def is_needed(configuration: Configuration, head: Head, content: bytes) -> bool:
    """False for a result of something else: one code, which means nothing here, no parts, no earlier version.

    What stands twice, or is spelled so that it could, is kept for the reader to refuse.
    """
    if head.resource_type != "Observation" or not head.code or head.status in _LATER_VERSIONS:
        return True
    if head.component or head.has_member or head.contained or b"\\u" in content:
        return True
    known = meaning_of(head.code, prepared(configuration).site.codes)
    return known is not None or len(_CODES.findall(content)) != 1


def rows_of(assessment: Assessment, card: Selected | None) -> Iterator[Json]:
    """The findings of an assessment, those withheld too, without sentences."""
    patient = assessment.patient
    whose = {"patient": patient.reference, "asOf": patient.as_of.isoformat().replace("+00:00", "Z")}
    shown = card.rules if card else frozenset()
    for result in assessment.judgements:
        if isinstance(result.outcome, Finding | Withheld):
            yield whose | _told(result, shown)


def _told(result: RuleResult, shown: frozenset[str]) -> Json:
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
