"""What the page of a decision shows: the card, which number it rests on, from when and where, and what was not known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from markdown_it import MarkdownIt
from markupsafe import Markup

from service.api.evaluation import Evaluation
from service.cds.cards import Presentation
from service.cds.detail import GATES
from service.cds.i18n import Wording
from service.decide import Decision
from service.evaluation_json import explain
from service.fhir.prefetch import INCOMPLETE
from service.logic.knowledge import Knowledge
from service.logic.message import Message
from service.logic.model import (
    Condition,
    Exposure,
    LabResult,
    Medication,
    PartialDateTime,
    PatientSnapshot,
)
from service.logic.rules.phrases import ANALYTE, amount, substances
from service.logic.workings import Working, workings
from service.pictures import NARROW, WIDE, table_html
from service.terminology.queries import QUERIES

Json = dict[str, Any]

LEVELS = {"info": "information", "warning": "warning", "critical": "critical"}
OUTCOMES = ("finding", "withheld", "failed", "lacking", "not-met", "off")
_EXPOSURE = {
    Exposure.ACTIVE: Message("active"),
    Exposure.ENDED: Message("ended"),
    Exposure.NOT_TAKEN: Message("not taken"),
    Exposure.LOCAL: Message("local use"),
    Exposure.UNKNOWN: Message("not known whether taken"),
}


_INPUTS = {analyte.value: words.template for analyte, words in ANALYTE.items()}
_MARKDOWN = MarkdownIt("commonmark", {"html": False})


def explanation(done: Evaluation) -> Json:
    """What the page shows, in words: the answer of an evaluation with every reference looked up."""
    decision, knowledge, how = done.decision, done.site.knowledge, done.how
    answer, wording = explain(decision, knowledge, how), how.wording
    patient = decision.assessment.patient
    chart = _chart(patient, wording)
    rules = [_rule(finding, chart, knowledge) for finding in answer["findings"]]
    by_outcome: dict[str, list[Json]] = {kind: [] for kind in OUTCOMES}
    for rule in rules:
        by_outcome[rule["outcome"]].append(rule)
    lead = decision.cards[0].body["source"]["topic"]["code"] if decision.cards else ""
    by_outcome["finding"].sort(key=lambda rule: _weight(rule, lead), reverse=True)
    return {
        "levels": LEVELS,
        "summary": _summary(decision, how),
        "person": _person(decision, wording),
        "moment": wording.moment(patient.as_of),
        "cards": [card | {"detail": _html(card["detail"])} for card in answer["cards"]],
        "timeline": _timeline(done),
        "rests_on": _rests_on(by_outcome["finding"]),
        "rules": by_outcome,
        "unknown": _unknown(by_outcome["lacking"]),
        "unavailable": list(_unavailable(patient, wording)),
        "issues": answer["issues"],
        "workings": [_working(each, wording) for each in workings(decision.assessment)],
        "read": list(chart.values()),
    }


def _html(words: str) -> Markup:
    return Markup(_MARKDOWN.render(words))  # noqa: S704  HTML within it stays text


def _timeline(done: Evaluation) -> Json:
    """The picture for a page and for a narrow panel, of which the style shows one, and its table."""
    wide, narrow = done.timelines(WIDE, NARROW)
    table = table_html(wide.table, done.how.wording) if wide.table else ""
    safe = {"wide": wide.svg, "narrow": narrow.svg, "table": table}
    return {name: Markup(drawn) for name, drawn in safe.items()}  # noqa: S704  each escapes what it is given


def _weight(rule: Json, lead: str) -> tuple[bool, bool, bool, int]:
    """What the card says first, then what it says, then the graver."""
    first = rule["rule"].replace("-", "") == lead
    return first, rule["stated"], rule["shown"], ("info", "warning", "critical").index(rule["indicator"])


def _summary(decision: Decision, how: Presentation) -> str:
    """The headline of the card; without one, that there is none and the last serum magnesium."""
    if decision.cards:
        return str(decision.cards[0].body["summary"])
    case = decision.assessment.case
    if case.mg is None or case.mg.taken is None:
        return how.wording.plain(Message("No card. Serum magnesium is not known."))
    said = Message("{amount} ({when})", amount=amount(case.mg), when=_moment(case.mg.taken))
    return how.wording.plain(Message("No card. Last serum magnesium {dated}.", dated=said))


def _person(decision: Decision, wording: Wording) -> str:
    """The patient by reference, sex and age: enough to see that it is the right one, no name."""
    patient, age = decision.assessment.patient, decision.assessment.case.age_years
    sex = {"female": Message("female"), "male": Message("male")}.get(patient.sex, Message("sex not known"))
    years = Message("age not known") if age is None else Message("{years} years", years=age)
    return wording.plain(Message("{patient} · {sex} · {years}", patient=patient.reference, sex=sex, years=years))


# ---- what a rule rests on -------------------------------------------------------------------------------------------


def _chart(patient: PatientSnapshot, wording: Wording) -> dict[str, Json]:
    """Every result, drug and condition by its reference: what it is, its value, and from when."""
    found: dict[str, Json] = {}
    for kind in (*map(_result, patient.labs), *map(_drug, _medications(patient)), *map(_problem, patient.conditions)):
        reference, what, value, when = kind
        row = {"reference": reference, "what": wording.plain(what), "value": wording.plain(value)}
        row["when"] = wording.moment(_moment(when)) if when else "–"
        known = found.setdefault(reference, row)
        if known is not row:  # one Observation with several components
            known |= {name: f"{known[name]}; {row[name]}" for name in ("what", "value")}
    return found


Row = tuple[str, Message, Message, PartialDateTime | None]


def _result(lab: LabResult) -> Row:
    return lab.reference, ANALYTE[lab.analyte], amount(lab), lab.taken


def _drug(drug: Medication) -> Row:
    return drug.reference, substances([drug]), _EXPOSURE[drug.exposure], drug.start


def _problem(condition: Condition) -> Row:
    state = Message("active") if condition.active else Message("not active")
    return (
        condition.reference,
        Message("{text}", text=condition.text or ", ".join(condition.tags)),
        state,
        condition.onset,
    )


def _medications(patient: PatientSnapshot) -> Iterator[Medication]:
    yield from patient.medications
    yield from (order.medication for order in patient.orders if order.medication is not None)


def _moment(when: PartialDateTime) -> Any:
    return when.start.date() if when.date_only else when.end


def _rule(finding: Json, chart: Mapping[str, Json], knowledge: Knowledge) -> Json:
    """An outcome with its title, its evidence looked up and its sources."""
    rule = finding["rule"]
    unread = {"what": "–", "value": "–", "when": "–"}
    evidence = [item["reference"] for item in finding.get("evidence", ())]
    sources = knowledge.rules[rule].citations
    optional: Json = {"stated": False, "action": "", "why": "", "advice": (), "reason": "", "lacking": ()}
    optional |= {"gate": "", "error": "", "text": "", "indicator": "info"}
    gate = finding.get("gate", "")
    return (
        optional
        | finding
        | {
            "lacking": [_INPUTS.get(name, name) for name in finding.get("lacking", ())],
            "gate": GATES[gate].template if gate in GATES else gate,
            "title": knowledge.rules[rule].title,
            "advice": [line for line in finding.get("advice", ()) if line.rstrip(".") != finding["text"].rstrip(".")],
            "rows": [chart.get(reference, unread | {"reference": reference}) for reference in evidence],
            "sources": [_source(c.source, c.at, knowledge) for c in sources],
        }
    )


def _rests_on(findings: Iterable[Json]) -> list[Json]:
    """Every value behind the card, or behind what was found where there is none, once."""
    listed = list(findings)
    told = [rule for rule in listed if rule["shown"]] or listed
    return list({row["reference"]: row for rule in told for row in rule["rows"]}.values())


def _source(source: str, at: str, knowledge: Knowledge) -> Json:
    reference = knowledge.references[source]
    return {"label": reference.label or reference.title, "title": reference.title, "at": at, "url": reference.url}


# ---- what was not known ---------------------------------------------------------------------------------------------


def _unknown(lacking: Iterable[Json]) -> list[tuple[str, list[Json]]]:
    """Each missing input with the rules that would need it, the most wanted first."""
    wanted: defaultdict[str, list[Json]] = defaultdict(list)
    for rule in lacking:
        for name in rule["lacking"]:
            wanted[name].append(rule)
    return sorted(wanted.items(), key=lambda item: -len(item[1]))


def _unavailable(patient: PatientSnapshot, wording: Wording) -> Iterator[tuple[str, str]]:
    """Each part of the chart that could not be read, or not whole, and why."""
    partly = dict.fromkeys(patient.incomplete, INCOMPLETE)
    for key, why in (partly | dict(patient.unavailable)).items():
        query = QUERIES.get(key)
        words = (query.words or ANALYTE[query.analytes[0]]) if query else Message("{key}", key=key)
        yield wording.plain(words), wording.translate(why)


def _working(working: Working, wording: Wording) -> Json:
    return {
        "rule": working.rule,
        "name": wording.plain(working.name),
        "symbols": working.symbols,
        "numbers": working.numbers,
        "result": wording.plain(working.result),
        "inputs": [(symbol, *_stands_for(value, wording)) for symbol, value in working.inputs],
    }


def _stands_for(value: LabResult | Message, wording: Wording) -> tuple[str, str, str]:
    """What a symbol stands for, from when, and where it is in the chart."""
    if isinstance(value, Message):
        return wording.plain(value), "–", "–"
    said = Message("{analyte} {amount}", analyte=ANALYTE[value.analyte], amount=amount(value))
    when = wording.moment(_moment(value.taken)) if value.taken else "–"
    return wording.plain(said), when, value.reference
