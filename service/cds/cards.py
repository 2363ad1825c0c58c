"""Findings -> at most one status card and one order card: merged, ordered, cited, with laboratory orders to accept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from random import Random
from types import MappingProxyType
from typing import Any
from uuid import UUID

from service.cds.i18n import Wording
from service.cds.override_reasons import override_reasons
from service.logic.evaluate import Assessment, RuleResult
from service.logic.knowledge import VERSION, Knowledge
from service.logic.message import Message
from service.logic.model import Analyte, Dose, Failed, Finding, Indicator, Problem, Withheld
from service.logic.rules.phrases import ANALYTE, GATE, dated
from service.logic.rules.rule import ORDER_HOOKS

SOURCE = "Magnesium CDS"
RULE_SYSTEM = "urn:magnesium-cds:rules"
FINDINGS, BASIS = "org.magnesium-cds.findings", "org.magnesium-cds.basis"

# The rule that leads the summary, whatever the order of the lines; the rest follows its priority.
_LEADS = ("R-081", "R-014", "R-011")
# While these speak of the serum value itself, it may not be graded: their card replaces the status card.
_INTEGRITY = ("R-001", "R-002", "R-003")
# What an order card quotes of an unusable magnesium.
_QUOTED = ("R-001", "R-002", "R-003", "R-005")
_CONTEXT = ("R-005", "R-010", "R-012", "R-015", "R-020", "R-030", "R-042")

# Ids of cards need to be unique, not secret; asking the kernel for each costs more than writing the card.
_IDS = Random()  # noqa: S311

Json = dict[str, Any]
Order = Callable[[Analyte], Json | None]  # a draft ServiceRequest for a test, or None if the site has no code for it


@dataclass(frozen=True, slots=True)
class Presentation:
    """How cards are written for one call."""

    wording: Wording
    local_orders: Mapping[Analyte, Any] = field(default_factory=lambda: MappingProxyType({}))  # a site's codes
    base_url: str = ""  # https URL of the REST API, for links; "" for none
    rules_off: frozenset[str] = frozenset()
    silent: frozenset[str] = frozenset()
    new_id: Callable[[], str] = field(default=lambda: str(UUID(int=_IDS.getrandbits(128), version=4)))


@dataclass(frozen=True, slots=True)
class Card:
    """A card and the rules that it states, with their results."""

    body: Json
    stated: Mapping[str, str]


def to_cards(assessment: Assessment, knowledge: Knowledge, how: Presentation, order: Order) -> list[Card]:
    """The cards of an assessment; none when there is nothing to say."""
    spoken = [j for j in assessment.judgements if j.rule.id not in how.silent]
    lines = [j for j in spoken if isinstance(j.outcome, Finding) and assessment.patient.hook in j.rule.hooks]
    reasons = [j for j in lines if isinstance(j.outcome, Finding) and not j.outcome.context_only]
    failed = [j for j in spoken if isinstance(j.outcome, Failed)]
    if assessment.patient.hook in ORDER_HOOKS:
        chosen = [*reasons, *_quoted(spoken)] if reasons else []
    elif doubtful := _doubtful(assessment, reasons):
        chosen = doubtful
    else:
        chosen = [*reasons, *_context(lines)] if reasons else []
    if not chosen and not failed:
        return []
    card = _card(sorted(chosen, key=_place), failed, assessment, knowledge, how)
    if suggestions := list(_suggestions(chosen, assessment, how, order)):
        card.body.update(suggestions=suggestions, selectionBehavior="any")
    return [card]


def _finding(judgement: RuleResult) -> Finding:
    assert isinstance(judgement.outcome, Finding)  # noqa: S101  only findings are chosen
    return judgement.outcome


def _place(judgement: RuleResult) -> tuple[bool, int, str]:
    return _finding(judgement).context_only, judgement.rule.priority, judgement.rule.id


def _doubtful(assessment: Assessment, reasons: Sequence[RuleResult]) -> list[RuleResult]:
    """The integrity findings that make the serum magnesium unusable; they stand alone."""
    unusable = isinstance(assessment.outcome("R-002"), Finding) or not isinstance(assessment.outcome("R-010"), Finding)
    return [
        j
        for j in reasons
        if j.rule.id in _INTEGRITY and _finding(j).indicator is Indicator.WARNING and (unusable or j.rule.id == "R-003")
    ]


def _quoted(judgements: Iterable[RuleResult]) -> list[RuleResult]:
    return [j for j in judgements if j.rule.id in _QUOTED and isinstance(j.outcome, Finding)]


def _context(lines: Sequence[RuleResult]) -> list[RuleResult]:
    """Lines that give context: eGFR, corrected calcium, classes that no other line already states."""
    stated = {j.rule.id for j in lines}
    graded = stated & {"R-005", "R-011", "R-013", "R-014", "R-021"}
    calcium = "R-043" in stated or "R-044" in stated
    return [
        j for j in lines if _finding(j).context_only and j.rule.id in _CONTEXT and not (j.rule.id == "R-010" and graded)
        and not (j.rule.id == "R-042" and calcium)
        and j.rule.id != "R-012"
    ]  # fmt: skip


# ---- one card -------------------------------------------------------------------------------------------------------


def _card(
    chosen: Sequence[RuleResult],
    failed: Sequence[RuleResult],
    assessment: Assessment,
    knowledge: Knowledge,
    how: Presentation,
) -> Card:
    stated = {j.rule.id: _finding(j).result for j in chosen} | {j.rule.id: "failed" for j in failed}
    lead = _lead(chosen)
    body: Json = {
        "uuid": how.new_id(),
        "summary": _summary(lead, how),
        "indicator": _indicator(chosen, assessment).value,
        "detail": _detail(chosen, failed, assessment, knowledge, how),
        "source": _source(lead, knowledge, how),
        "extension": _extension(stated, chosen, assessment),
    }
    body["overrideReasons"] = override_reasons(lead.rule.id if lead else "", how.wording)
    if how.base_url and lead:
        url = f"{how.base_url}/v1/rules/{lead.rule.id}"
        body["links"] = [{"label": how.wording.translate("Rule and sources"), "url": url, "type": "absolute"}]
    return Card(body, MappingProxyType(stated))


def _lead(chosen: Sequence[RuleResult]) -> RuleResult | None:
    """The judgement whose sentence is the summary: of the most urgent ones, the value itself, else by priority."""
    if not chosen:
        return None
    reasons = [j for j in chosen if not _finding(j).context_only] or list(chosen)
    worst = max(_finding(j).indicator.rank for j in reasons)
    urgent = [j for j in reasons if _finding(j).indicator.rank == worst]
    return next((j for rule in _LEADS for j in urgent if j.rule.id == rule), urgent[0])


_FAILED = Message("Some magnesium rules could not be evaluated; this is not an all-clear.")


_SUMMARY_LENGTH = 139  # CDS Hooks: a summary has fewer than 140 characters


def _summary(lead: RuleResult | None, how: Presentation) -> str:
    """The sentence of the lead; where it is too long, the last items of its list are counted, not named."""
    text: Message | None = _finding(lead).text if lead else _FAILED
    said = ""
    while text is not None:
        said = how.wording.plain(text)
        text = _shorter(text) if len(said) > _SUMMARY_LENGTH else None
    return said if len(said) <= _SUMMARY_LENGTH else f"{said[: _SUMMARY_LENGTH - 1]}…"


def _shorter(text: Message) -> Message | None:
    """The sentence with one more item of a list counted; None when no list has an item to spare."""
    for name, value in text.values.items():
        if isinstance(value, Message) and (inner := _shorter(value)) is not None:
            return Message(text.template, **{**text.values, name: inner})
        if isinstance(value, tuple) and len(value) > 1:
            counted = text.values.get("count")
            if isinstance(counted, int):
                return Message(text.template, **{**text.values, name: value[:-1], "count": counted + 1})
            return Message(
                text.template, **{**text.values, name: Message("{drugs} and {count} more", drugs=value[:-1], count=1)}
            )
    return None


def _indicator(chosen: Sequence[RuleResult], assessment: Assessment) -> Indicator:
    """The highest of the lines that are a reason for this card; on order hooks only order rules count."""
    ordering = assessment.patient.hook in ORDER_HOOKS
    counted = [j for j in chosen if not ordering or assessment.patient.hook in j.rule.hooks]
    ranks = [_finding(j).indicator for j in counted if not _finding(j).context_only]
    return max(ranks, key=lambda indicator: indicator.rank, default=Indicator.WARNING)


# ---- detail ---------------------------------------------------------------------------------------------------------


def _detail(
    chosen: Sequence[RuleResult],
    failed: Sequence[RuleResult],
    assessment: Assessment,
    knowledge: Knowledge,
    how: Presentation,
) -> str:
    say = how.wording.markdown
    found = [j for j in chosen if not _gives(j)]
    lines = [_line(j, knowledge, how) for j in found if not _finding(j).context_only]
    beside = " ".join(_line(j, knowledge, how) for j in found if _finding(j).context_only)
    blocks = [
        _block(Message("Finding"), [*lines, beside], how),
        _block(Message("What to do"), [say(text) for text in _todo(chosen, assessment, knowledge)], how),
        _block(Message("Not known"), [say(text) for text in _gaps(assessment, failed)], how),
        _sources(chosen, knowledge, how),
        how.wording.plain(
            Message("Supports clinical judgement, does not replace it. Rules {version}.", version=VERSION)
        ),
    ]
    return "\n\n".join(block for block in blocks if block)


def _gives(judgement: RuleResult) -> bool:
    """True for a treatment: it stands under "What to do", not among the findings."""
    return judgement.rule.treatment and bool(_finding(judgement).proposals)


def _block(title: Message, lines: Sequence[str], how: Presentation) -> str:
    unique = list(dict.fromkeys(line for line in lines if line))
    if not unique:
        return ""
    return "\n".join([f"**{how.wording.plain(title)}**", "", *(f"- {_sentence(line)}" for line in unique)])


def _sentence(line: str) -> str:
    """With a capital, if it starts with a word such as a drug from the chart; "eGFR" and "pH" stay as they are."""
    return line[0].upper() + line[1:] if line[1:2].islower() else line


def _line(judgement: RuleResult, knowledge: Knowledge, how: Presentation) -> str:
    """One finding: its sentence, why, and a word on weak evidence."""
    finding = _finding(judgement)
    parts = [finding.text, *([finding.why] if finding.why else []), *_weak(judgement.rule.id, knowledge)]
    return " ".join(_sentence(how.wording.markdown(part)) for part in parts)


_WEAK = {
    "laboratory brochure": Message("(source: a laboratory's brochure)"),
    "narrative review": Message("(source: a review of small trials)"),
    "review with an open product study": Message("(source: a product study)"),
    "lecture slides": Message("(source: lecture slides; association only)"),
    "engineering choice": Message("(limit set by this service; approve locally)"),
    "cohort study": Message("(association only)"),
}


def _weak(rule: str, knowledge: Knowledge) -> list[Message]:
    """What to say of a rule that rests on weak sources alone."""
    kinds = [knowledge.references[c.source].kind for c in rule_citations(rule, knowledge)]
    return [_WEAK[kinds[0]]] if kinds and all(kind in _WEAK for kind in kinds) else []


def _todo(chosen: Sequence[RuleResult], assessment: Assessment, knowledge: Knowledge) -> Iterator[Message]:
    """Doses first, with reason, source, gate and rate beside them; then advice, the general one of severity last.

    A card that has nothing but laboratory orders to offer says them too: not every EHR shows suggestions.
    """
    tests = tuple(ANALYTE[test] for test in _wanted(chosen, assessment))
    for judgement in chosen:
        yield from _proposed(judgement, knowledge)
    if doses := [p.dose for j in chosen for p in _finding(j).proposals if p.dose.amount is not None]:
        yield _dose_conditions(doses, assessment)
    elif reasons := _withheld(chosen, assessment):
        yield Message("No dose is shown, because of: {reasons}.", reasons=reasons)
    for judgement in sorted(chosen, key=lambda j: j.rule.id == "R-011"):
        yield from _finding(judgement).advice
    if tests and not any(_finding(j).advice or _finding(j).proposals for j in chosen):
        yield Message("Measure {tests}.", tests=tests)


def _proposed(judgement: RuleResult, knowledge: Knowledge) -> Iterator[Message]:
    finding = _finding(judgement)
    for number, proposal in enumerate(finding.proposals):
        if proposal.dose.amount is None:
            yield proposal.text
            continue
        source = _labels(proposal.dose, knowledge)
        if finding.why is not None and number == 0 and judgement.rule.treatment:
            yield Message("{dose} {why} [{source}]", dose=proposal.text, why=finding.why, source=source)
        else:
            yield Message("{dose} [{source}]", dose=proposal.text, source=source)


def _labels(dose: Dose, knowledge: Knowledge) -> tuple[Message, ...]:
    return tuple(_label(source, knowledge) for source in dict.fromkeys(c.source for c in dose.citations))


_GATES = {
    "kidney": Message("kidney function"),
    "age": Message("age"),
    "pregnancy": Message("pregnancy"),
    "pseudo-hypomagnesaemia": Message("low protein"),
}


def _withheld(chosen: Sequence[RuleResult], assessment: Assessment) -> tuple[Message, ...]:
    """Why a low magnesium that is graded on this card comes without a dose."""
    if "R-011" not in {j.rule.id for j in chosen}:
        return ()
    gates = dict.fromkeys(j.outcome.gate for j in assessment.judgements if isinstance(j.outcome, Withheld))
    return tuple(_GATES[gate] for gate in gates if gate in _GATES)


def _dose_conditions(doses: Sequence[Dose], assessment: Assessment) -> Message:
    gate = GATE[assessment.gate]
    if any(dose.over is not None for dose in doses):
        return Message("For doses: {gate}; IV rate at most 150 mg/min unless life is in danger.", gate=gate)
    return Message("For doses: {gate}.", gate=gate)


def _gaps(assessment: Assessment, failed: Sequence[RuleResult]) -> Iterator[Message]:
    """What could not be read or evaluated, so that silence is not taken for normal."""
    if missing := _words(assessment.patient.unavailable):
        yield Message("Could not be read, so not judged: {things}.", things=missing)
    if parts := _words(assessment.patient.incomplete):
        yield Message("Read only in part: {things}.", things=parts)
    for result in assessment.patient.labs:
        if result.analyte is Analyte.SERUM_MAGNESIUM and result.problem is Problem.PRELIMINARY and result.taken:
            yield Message("Preliminary serum magnesium {dated}: shown, not graded.", dated=dated(result))
    for judgement in failed:
        yield Message("Rule {rule} failed and was not judged; please report it.", rule=judgement.rule.id)


def _words(keys: Iterable[str]) -> tuple[Message, ...]:
    return tuple(_KEY_WORDS[key] for key in keys if key in _KEY_WORDS)


_KEY_WORDS = {
    "magnesium": ANALYTE[Analyte.SERUM_MAGNESIUM],
    "rbcMagnesium": ANALYTE[Analyte.RBC_MAGNESIUM],
    "ionizedMagnesium": ANALYTE[Analyte.IONISED_MAGNESIUM],
    "urineMagnesium": ANALYTE[Analyte.URINE_MAGNESIUM],
    "creatinine": ANALYTE[Analyte.CREATININE],
    "urineCreatinine": ANALYTE[Analyte.URINE_CREATININE],
    "potassium": ANALYTE[Analyte.POTASSIUM],
    "calcium": Message("calcium"),
    "albumin": ANALYTE[Analyte.ALBUMIN],
    "bicarbonate": ANALYTE[Analyte.BICARBONATE],
    "qtc": ANALYTE[Analyte.QTC],
    "medicationRequests": Message("medication orders"),
    "medicationStatements": Message("medication statements"),
    "medicationAdministrations": Message("medication administrations"),
    "conditions": Message("problem list"),
    "encounter": Message("encounter"),
    "patient": Message("patient"),
}


def _sources(chosen: Sequence[RuleResult], knowledge: Knowledge, how: Presentation) -> str:
    cited = [c.source for j in chosen if not _finding(j).context_only for c in rule_citations(j.rule.id, knowledge)]
    labels = tuple(_label(source, knowledge) for source in dict.fromkeys(cited))
    rules = ", ".join(j.rule.id for j in chosen)
    if not labels:
        return ""
    return how.wording.markdown(Message("Sources: {labels}. Rules: {rules}.", labels=labels, rules=rules))


# Labels of sources that are words, not names; the rest (authors and years) reads the same in every language.
_WORDED = {
    text.template: text
    for text in (
        Message("Chromolab brochure"),
        Message("migraine review"),
        Message("CKD slides 2013"),
        Message("MgSO4 label"),
        Message("EGFR antibody labels"),
        Message("product labels"),
        Message("laboratory catalogues"),
        Message("local engineering choice"),
    )
}


def _label(source: str, knowledge: Knowledge) -> Message:
    reference = knowledge.references[source]
    label = reference.label or reference.title
    return _WORDED.get(label, Message("{source}", source=label))


def rule_citations(rule: str, knowledge: Knowledge) -> Sequence[Any]:
    """The citations of a rule's row in rules.toml."""
    return knowledge.rules[rule].citations


# ---- source, extension, suggestions ---------------------------------------------------------------------------------


def _source(lead: RuleResult | None, knowledge: Knowledge, how: Presentation) -> Json:
    source: Json = {"label": SOURCE}
    if how.base_url:
        source["url"] = f"{how.base_url}/v1/references"
    rule = lead.rule.id if lead else "R-000"
    title = knowledge.rules[rule].title if lead else "Rule failed"
    return source | {"topic": {"system": RULE_SYSTEM, "code": rule.replace("-", ""), "display": title}}


def _extension(stated: Mapping[str, str], chosen: Sequence[RuleResult], assessment: Assessment) -> Json:
    resources = dict.fromkeys(reference for j in chosen for reference in _finding(j).evidence)
    basis: Json = {"asOf": _instant(assessment.patient.as_of), "staleAfter": _instant(assessment.stale_after)}
    if resources:
        basis["resources"] = list(resources)
    return {FINDINGS: [{"rule": rule, "result": result} for rule, result in stated.items()], BASIS: basis}


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _wanted(chosen: Sequence[RuleResult], assessment: Assessment) -> list[Analyte]:
    """The tests worth having that are not already ordered."""
    tests = dict.fromkeys(test for j in chosen for test in _finding(j).tests)
    return [test for test in tests if test not in assessment.patient.pending]


def _suggestions(
    chosen: Sequence[RuleResult], assessment: Assessment, how: Presentation, order: Order
) -> Iterator[Json]:
    """A laboratory order for each wanted test for which the site has a code; one action each."""
    for test in _wanted(chosen, assessment):
        if (resource := order(test)) is not None:
            label = how.wording.plain(Message("Order {test}", test=ANALYTE[test]))
            action = {"type": "create", "description": label, "resource": resource}
            yield {"label": label, "uuid": how.new_id(), "actions": [action]}
