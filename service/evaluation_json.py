"""A decision as the answer of /v1/evaluate: every rule with its outcome, what was read, what was not, and the cards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from service.cds.cards import Presentation
from service.decide import Decision
from service.knowledge_json import citation_body
from service.logic.evaluate import RuleResult
from service.logic.knowledge import VERSION, Knowledge
from service.logic.model import (
    Failed,
    Finding,
    Indicator,
    LabResult,
    Medication,
    MissingInputs,
    NotMet,
    Off,
    PartialDateTime,
    PatientSnapshot,
    Withheld,
)
from service.pictures import WIDE, Spoke, Timeline, timeline

Json = dict[str, Any]


def explain(decision: Decision, knowledge: Knowledge, how: Presentation) -> Json:
    """The whole answer of an evaluation, shaped as the interface fixes it."""
    patient = decision.assessment.patient
    shown = {rule: rule in card.worded for card in decision.cards for rule in card.stated}
    judgements = decision.assessment.judgements
    used = {reference for j in judgements if isinstance(j.outcome, Finding) for reference in j.outcome.evidence}
    return {
        "patient": patient.reference,
        "hook": patient.hook.value,
        "asOf": patient.as_of.isoformat().replace("+00:00", "Z"),
        "language": how.wording.language,
        "knowledge": {"version": VERSION},
        "findings": [_marked(j, shown, knowledge, how) for j in judgements],
        "read": _read(patient, used),
        "issues": [{"reference": i.reference, "problem": how.wording.plain(i.problem)} for i in patient.issues],
        "cards": [card.body for card in decision.cards],
    }


def timeline_of(
    decision: Decision,
    how: Presentation,
    before: Iterable[Spoke] = (),
    since: datetime | None = None,
    width: int = WIDE,
) -> Timeline:
    """The picture of a decided patient: with the cards of now, and those that spoke `before` (looked for `since`)."""
    now = decision.assessment.patient.as_of
    cards = (Spoke(now, Indicator(card.body["indicator"]), card.body["summary"]) for card in decision.cards)
    return timeline(decision.assessment.case, how.wording, (*before, *cards), width, since)


def timeline_body(picture: Timeline) -> Json:
    """The picture as a member of an answer; its table as rows of words."""
    return {
        "svg": picture.svg,
        "sentence": picture.sentence,
        "table": [{name: words for name, words in row._asdict().items() if words} for row in picture.table],
    }


def _marked(judgement: RuleResult, shown: Mapping[str, bool], knowledge: Knowledge, how: Presentation) -> Json:
    """A rule's outcome; `stated` where a card says it in words."""
    body = _finding(judgement, judgement.rule.id in shown, knowledge, how)
    return body | ({"stated": True} if shown.get(judgement.rule.id) else {})


def _finding(judgement: RuleResult, shown: bool, knowledge: Knowledge, how: Presentation) -> Json:
    body: Json = {"rule": judgement.rule.id, "name": judgement.rule.name}
    outcome = judgement.outcome
    if isinstance(outcome, Finding):
        return body | {"outcome": "finding"} | _told(outcome, judgement.rule.id, knowledge, how) | {"shown": shown}
    if isinstance(outcome, Withheld):
        told = _told(outcome.finding, judgement.rule.id, knowledge, how)
        return body | {"outcome": "withheld", "gate": outcome.gate, "shown": False} | _without_doses(told)
    if isinstance(outcome, MissingInputs):
        return body | {"outcome": "lacking", "lacking": list(outcome.inputs), "shown": False}
    if isinstance(outcome, Failed):
        return body | {"outcome": "failed", "error": outcome.error, "shown": shown}
    if isinstance(outcome, Off):
        return body | {"outcome": "off", "shown": False}
    reason = {"reason": how.wording.plain(outcome.reason)} if isinstance(outcome, NotMet) and outcome.reason else {}
    return body | {"outcome": "not-met", "shown": False} | reason


def _told(finding: Finding, rule: str, knowledge: Knowledge, how: Presentation) -> Json:
    body: Json = {
        "result": finding.result,
        "indicator": finding.indicator.value,
        "text": how.wording.plain(finding.text),
        "values": dict(finding.values),
        "evidence": [{"reference": reference} for reference in finding.evidence],
        "citations": [citation_body(citation, knowledge) for citation in knowledge.rules[rule].citations],
    }
    if finding.action:
        body["action"] = how.wording.plain(finding.action)
    if finding.why:
        body["why"] = how.wording.plain(finding.why)
    if finding.advice or finding.proposals:
        body["advice"] = [how.wording.plain(t) for t in (*(p.text for p in finding.proposals), *finding.advice)]
    return {name: value for name, value in body.items() if value not in ({}, [])}


def _without_doses(told: Json) -> Json:
    """A withheld finding says that it is true and why it may not act, never what would have been given."""
    return {name: value for name, value in told.items() if name not in {"text", "advice", "why", "values"}}


def _read(patient: PatientSnapshot, used: set[str]) -> Json:
    return {
        "labs": [_lab(lab, lab.reference in used) for lab in patient.labs if lab.problem is None],
        "medications": [_medication(medication) for medication in _medications(patient)],
        "conditions": [
            {"reference": c.reference, "tags": sorted(c.tags), "active": c.active, "recognisedBy": c.recognised_by}
            for c in patient.conditions
        ],
    }


def _medications(patient: PatientSnapshot) -> Iterable[Medication]:
    yield from patient.medications
    yield from (order.medication for order in patient.orders if order.medication is not None)


def _lab(lab: LabResult, used: bool) -> Json:
    reported = lab.reported
    body: Json = {
        "reference": lab.reference,
        "analyte": lab.analyte.value,
        "value": reported.value if reported else None,
        "unit": {"meq/L": "mEq/L"}.get(reported.unit, reported.unit) if reported else None,
        "takenAt": _moment(lab.taken),
        "used": used,
    }
    return body | ({"comparator": lab.comparator} if lab.comparator else {})


def _medication(medication: Medication) -> Json:
    return {
        "reference": medication.reference,
        "ingredients": [item.name for item in medication.ingredients],
        "classes": sorted(medication.classes),
        "recognisedBy": medication.recognised_by,
        "exposure": medication.exposure.value,
    } | ({"route": medication.route} if medication.route else {})


def _moment(when: PartialDateTime | None) -> str | None:
    if when is None:
        return None
    return when.start.date().isoformat() if when.date_only else when.end.isoformat().replace("+00:00", "Z")
