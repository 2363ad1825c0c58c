"""The words of a card: a headline with its action, then at most five lines within a budget of words (decision 43).

Sentences are offered in the order of their weight and taken while the budget lasts; what was left out stands on the page
behind the card. What could not be read, and the line of sources, always stand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from service.cds.i18n import Wording
from service.cds.selection import Selected, finding_of, indicator_of
from service.logic.evaluate import Assessment, RuleResult
from service.logic.knowledge import Knowledge, Reference
from service.logic.message import Message
from service.logic.model import Analyte, Indicator, Problem, Withheld
from service.logic.rules.phrases import ANALYTE, dated
from service.terminology.queries import QUERIES

MAX_SUMMARY = 139  # CDS Hooks: a summary has fewer than 140 characters
MAX_WORDS = {Indicator.INFO: 80, Indicator.WARNING: 80, Indicator.CRITICAL: 110}
MAX_SOURCES = 3
FAILED = Message("Some magnesium rules could not be evaluated; this is not an all-clear")


@dataclass(slots=True)
class Lines:
    """The five lines of a detail, filled sentence by sentence while `left` words last; `stated` rules have said one."""

    left: int
    parts: dict[int, list[str]] = field(default_factory=dict)
    stated: set[str] = field(default_factory=set)
    said: set[str] = field(default_factory=set)

    def takes(self, line: int, english: str, *, always: bool = False) -> bool:
        """Whether a sentence finds room; it is counted in English, so that every language says the same."""
        cost = len(english.split()) + (line not in self.parts)
        if english in self.said or (cost > self.left and not always):
            return False
        self.left -= cost
        self.said.add(english)
        return True

    def add(self, line: int, english: str, sentence: str, rule: str = "", *, always: bool = False) -> None:
        """Put a sentence into its line, unless it was said already or is longer than what is left."""
        if self.takes(line, english, always=always):
            self.parts.setdefault(line, []).append(sentence)
        if rule and english in self.said:
            self.stated.add(rule)

    def markdown(self, wording: Wording) -> str:
        """The lines as a list."""
        return "\n".join(f"- {wording.line(' '.join(self.parts[line]))}" for line in sorted(self.parts))


_DO, _ALSO, _WHY, _UNKNOWN, _SOURCES = range(5)


def summary(selected: Selected, wording: Wording) -> tuple[str, bool]:
    """Headline and action in fewer than 140 characters; False if the action found no room."""
    if selected.lead is None:
        return wording.line(wording.plain(FAILED)), True
    finding = finding_of(selected.lead)
    if finding.action is not None:
        whole = _fitting(Message("{headline}: {action}", headline=finding.text, action=finding.action), wording)
        if whole is not None:
            return whole, True
    said = _fitting(finding.text, wording)
    return said or wording.line(f"{wording.plain(finding.text)[: MAX_SUMMARY - 3]}…"), finding.action is None


def _fitting(text: Message, wording: Wording) -> str | None:
    """The sentence without its period; where it is too long, the last items of its list are counted, not named."""
    shorter: Message | None = text
    while shorter is not None:
        said = wording.line(_capital(_joined(_bare(wording.plain(shorter)))))
        if len(said) <= MAX_SUMMARY:
            return said
        shorter = _counted(shorter)
    return None


def _joined(sentence: str) -> str:
    """Headline and action as one sentence, although the headline alone ends with a period."""
    return sentence.replace(".: ", ": ").replace(". — ", " — ")


def _bare(sentence: str) -> str:
    return sentence.rstrip(". ")


def _counted(text: Message) -> Message | None:
    """The sentence with one more item of a list counted; None when no list has an item to spare."""
    for name, value in text.values.items():
        if isinstance(value, Message) and (inner := _counted(value)) is not None:
            return Message(text.template, **{**text.values, name: inner})
        if isinstance(value, tuple) and len(value) > 1:
            counted = text.values.get("count")
            if isinstance(counted, int):
                return Message(text.template, **{**text.values, name: value[:-1], "count": counted + 1})
            rest = Message("{drugs} and {count} more", drugs=value[:-1], count=1)
            return Message(text.template, **{**text.values, name: rest})
    return None


def detail(
    selected: Selected,
    assessment: Assessment,
    knowledge: Knowledge,
    wording: Wording,
    page: Callable[[frozenset[str]], str],
) -> tuple[str, frozenset[str]]:
    """The Markdown below the headline, and the rules that headline or detail state in words.

    `page` is the address behind a card that states these rules, "" for none.
    """
    english = wording if wording.language == "en" else Wording("en", wording.zone)
    headline, fits = summary(selected, english)
    whole = fits and summary(selected, wording)[1]  # an action that finds no room in the headline is said below it
    lines = Lines(MAX_WORDS[indicator_of(selected)], said={_sentence(headline)})
    lead = {selected.lead.rule.id} if selected.lead else set()
    lines.stated |= lead | _covered(selected, knowledge)
    for gap in _gaps(assessment, selected):
        lines.add(_UNKNOWN, english.plain(gap), _sentence(wording.markdown(gap)), always=True)
    lines.left -= len(_sources(selected, knowledge, english, page(frozenset())).split()) + 1
    for line, message, rule in _offered(selected, assessment, knowledge, whole=whole):
        lines.add(line, _sentence(english.plain(message)), _sentence(wording.markdown(message)), rule)
    stated = frozenset(lines.stated)
    lines.parts[_SOURCES] = [_sources(_stated(selected, lines.stated), knowledge, wording, page(stated))]
    return lines.markdown(wording), stated


def _covered(selected: Selected, knowledge: Knowledge) -> set[str]:
    """Rules whose statement the headline of the lead includes."""
    if selected.lead is None:
        return set()
    return {r.rule.id for r in selected.reasons if selected.lead.rule.id in knowledge.rules[r.rule.id].covered_by}


def _stated(selected: Selected, rules: set[str]) -> Selected:
    """The part of a selection that the card words: only its sources stand on it."""
    return Selected(
        tuple(r for r in selected.reasons if r.rule.id in rules),
        tuple(r for r in selected.context if r.rule.id in rules),
        selected.failed,
        selected.lead,
    )


Offer = tuple[int, Message, str]


def _offered(selected: Selected, assessment: Assessment, knowledge: Knowledge, *, whole: bool) -> Iterator[Offer]:
    """Line, sentence and rule, the weightiest first: what to do, the lead's reason, the other reasons, then context."""
    lead = selected.lead
    if lead is None:
        return
    others = [r for r in selected.reasons if r is not lead]
    covered = [r for r in others if lead.rule.id in knowledge.rules[r.rule.id].covered_by]
    if not whole and (action := finding_of(lead).action) is not None:
        yield _DO, action, lead.rule.id
    yield from _doses(selected, covered)
    yield from ((_DO, text, lead.rule.id) for text in finding_of(lead).advice[:1])
    yield from _withheld(selected, assessment)
    grave = [r for r in others if finding_of(r).indicator is not Indicator.INFO and not _gives_dose(r)]
    yield from ((_ALSO, _headline(r), r.rule.id) for r in grave if r not in covered)
    yield from _reason(lead, knowledge)
    yield from _context(selected)
    yield from ((_DO, text, lead.rule.id) for text in finding_of(lead).advice[1:])
    for result in grave:
        yield from ((_ALSO, text, result.rule.id) for text in finding_of(result).advice[:1])
    minor = [r for r in others if r not in grave and r not in covered and not _gives_dose(r)]
    yield from ((_ALSO, _headline(r), r.rule.id) for r in minor)
    for result in others:
        yield from ((_ALSO, text, result.rule.id) for text in finding_of(result).advice)
    for result in grave:
        yield from _reason(result, knowledge)
    yield from _tests(selected, assessment)


def _gives_dose(result: RuleResult) -> bool:
    """A treatment whose sentence is its proposal: it stands in the first line."""
    return result.rule.treatment and bool(finding_of(result).proposals)


def _doses(selected: Selected, covered: Sequence[RuleResult]) -> Iterator[Offer]:
    """Every proposal with an amount, then those without that the headline does not say already."""
    said = {r.rule.id for r in covered}
    proposed = [
        (r, p) for r in selected.listed for p in finding_of(r).proposals if p.dose.amount or r.rule.id not in said
    ]
    lead = finding_of(selected.lead).text if selected.lead else None
    for amounts in (True, False):
        for result, proposal in proposed:
            if (proposal.dose.amount is not None) is amounts and proposal.text != lead:
                yield _DO, proposal.text, result.rule.id


def _headline(result: RuleResult) -> Message:
    finding = finding_of(result)
    if finding.action is None:
        return finding.text
    return Message("{headline}: {action}", headline=finding.text, action=finding.action)


def _reason(result: RuleResult, knowledge: Knowledge) -> Iterator[Offer]:
    """What a finding rests on, with a word on weak evidence."""
    if (why := finding_of(result).why) is not None:
        yield _WHY, why, result.rule.id
    kinds = [knowledge.references[c.source].kind for c in knowledge.rules[result.rule.id].citations]
    if kinds and all(kind in _WEAK for kind in kinds):
        yield _WHY, _WEAK[kinds[0]], result.rule.id


_WEAK = {
    "laboratory brochure": Message("(Source: a laboratory's brochure.)"),
    "narrative review": Message("(Source: a review of small trials.)"),
    "review with an open product study": Message("(Source: a product study.)"),
    "lecture slides": Message("(Source: lecture slides; association only.)"),
    "engineering choice": Message("(Limit set by this service; approve locally.)"),
    "cohort study": Message("(Association only.)"),
}
# Context that changes what is done, in this order; the rest stands behind the card.
_CHANGES_WHAT_IS_DONE = ("R-031", "R-074", "R-100", "R-062", "R-004", "R-082")


def _context(selected: Selected) -> Iterator[Offer]:
    by_rule = {r.rule.id: r for r in selected.context}
    for rule in _CHANGES_WHAT_IS_DONE:
        if rule in by_rule:
            yield _WHY, finding_of(by_rule[rule]).text, rule
            yield from ((_WHY, text, rule) for text in finding_of(by_rule[rule]).advice[:1])
    if "R-030" in by_rule:
        yield from ((_WHY, text, "R-030") for text in finding_of(by_rule["R-030"]).advice)
    quoted = (r for r in selected.context if r.rule.id not in _CHANGES_WHAT_IS_DONE and not finding_of(r).context_only)
    yield from ((_WHY, finding_of(r).text, r.rule.id) for r in quoted)


def _tests(selected: Selected, assessment: Assessment) -> Iterator[Offer]:
    """The tests on offer in words, where the headline does not ask for any: not every EHR shows suggestions."""
    if selected.lead is not None and finding_of(selected.lead).action is not None:
        return
    if tests := tuple(ANALYTE[test] for test in wanted(selected, assessment)):
        yield _DO, Message("Measure {tests}.", tests=tests), ""


def wanted(selected: Selected, assessment: Assessment) -> list[Analyte]:
    """The tests worth having that are not already ordered."""
    tests = dict.fromkeys(test for r in selected.reasons for test in finding_of(r).tests)
    return [test for test in tests if test not in assessment.patient.pending]


GATES = {
    "kidney": Message("kidney function"),
    "age": Message("age"),
    "pregnancy": Message("pregnancy"),
    "pseudo-hypomagnesaemia": Message("low protein"),
}


def _withheld(selected: Selected, assessment: Assessment) -> Iterator[Offer]:
    """Why a low magnesium that is graded on this card comes without a dose."""
    graded = any(r.rule.id == "R-011" for r in selected.reasons) and not assessment.case.ckrt
    if not graded or any(p.dose.amount is not None for r in selected.listed for p in finding_of(r).proposals):
        return
    gates = dict.fromkeys(r.outcome.gate for r in assessment.judgements if isinstance(r.outcome, Withheld))
    if reasons := tuple(GATES[gate] for gate in gates if gate in GATES):
        yield _DO, Message("No dose is shown, because of: {reasons}.", reasons=reasons), "R-011"


def _gaps(assessment: Assessment, selected: Selected) -> Iterator[Message]:
    """What could not be read or evaluated, so that silence is not taken for normal."""
    if missing := _key_words(assessment.patient.unavailable):
        yield Message("Could not be read, so not judged: {things}.", things=missing)
    if parts := _key_words(assessment.patient.incomplete):
        yield Message("Read only in part: {things}.", things=parts)
    for result in assessment.patient.labs:
        if result.analyte is Analyte.SERUM_MAGNESIUM and result.problem is Problem.PRELIMINARY and result.taken:
            yield Message("Preliminary serum magnesium {dated}: shown, not graded.", dated=dated(result))
    if selected.failed:
        rules = tuple(r.rule.id for r in selected.failed)
        yield Message("Rules that failed and were not judged: {rules}; please report it.", rules=rules)


# What weighs most among what could not be read; the rest follows in the order of the queries.
_FIRST = ("magnesium", "medicationRequests", "creatinine", "conditions", "potassium", "calcium", "qtc")


def _key_words(keys: Iterable[str]) -> Message | None:
    """What prefetch keys stand for, three by name and the others counted; None if there is nothing to say."""
    asked = [key for key in dict.fromkeys((*_FIRST, *QUERIES)) if key in keys and key in QUERIES]
    words = tuple(dict.fromkeys(QUERIES[key].words or ANALYTE[QUERIES[key].analytes[0]] for key in asked))
    if len(words) > 3:
        return Message("{drugs} and {count} more", drugs=words[:3], count=len(words) - 3)
    return Message("{drugs}", drugs=words) if words else None


# The strongest kind of source first; a brochure or slides never stand where a better one carries the same rule.
_STRENGTH = (
    "guideline", "regulator", "product label", "diagnostic review", "guideline-like digest", "reference text",
    "grading scale", "equation", "clinical study", "cohort study", "case-control study", "review", "case series",
    "reference interval", "laboratory catalogue", "expert opinion", "narrative review",
    "review with an open product study", "lecture slides", "laboratory brochure", "engineering choice",
)  # fmt: skip


def _sources(selected: Selected, knowledge: Knowledge, wording: Wording, page: str) -> str:
    """One line: the strongest sources of what is said, a link to the rest, and what a card is."""
    labels = tuple(_label(reference) for reference in _strongest(selected.reasons, knowledge))
    why = Message("Why, sources")
    link = f" [{_bare(wording.plain(why))}]({page})" if page else ""
    judgement = Message("Supports judgement, does not replace it.")
    if not labels:
        return f"{wording.markdown(judgement)}{link}"
    told = wording.markdown(Message("Sources: {labels}.", labels=labels))
    return f"{told} {wording.markdown(judgement)}{link}"


def _strongest(results: Sequence[RuleResult], knowledge: Knowledge) -> list[Reference]:
    cited = dict.fromkeys(source for r in results for source in _cited(r, knowledge))
    references = [knowledge.references[source] for source in cited]
    better = [r for r in references if r.kind not in {"laboratory brochure", "lecture slides", "engineering choice"}]
    return sorted(better or references, key=_strength)[:MAX_SOURCES]


def _cited(result: RuleResult, knowledge: Knowledge) -> tuple[str, ...]:
    """The sources of what this finding says: its own choice, else all of its rule."""
    return finding_of(result).sources or tuple(c.source for c in knowledge.rules[result.rule.id].citations)


def _strength(reference: Reference) -> int:
    return _STRENGTH.index(reference.kind) if reference.kind in _STRENGTH else len(_STRENGTH)


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


def _label(reference: Reference) -> Message:
    label = reference.label or reference.title
    return _WORDED.get(label, Message("{source}", source=label))


def _capital(line: str) -> str:
    """With a capital, if it starts with a word such as a drug from the chart; "eGFR" and "pH" stay as they are."""
    return line[0].upper() + line[1:] if line[1:2].islower() else line


def _sentence(line: str) -> str:
    """A sentence with its capital and its period."""
    whole = _capital(_joined(line))
    return whole if whole.endswith((".", ".)", "؟", "?")) else f"{whole}."
