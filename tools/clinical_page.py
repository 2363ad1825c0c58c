"""Writes docs/clinical.md from the knowledge, so that the page cannot drift: `make docs`; a test compares."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from service.governance.paper import unit_in_words
from service.logic.knowledge import CHECKED_ON, VERSION, Knowledge, Parameter, RuleEntry, load
from service.logic.model import Dose
from service.logic.rules import GROUPS, RULES
from service.logic.rules.rule import Rule

PAGE = Path(__file__).parents[1] / "docs" / "clinical.md"


def render() -> str:
    """The whole page."""
    knowledge = load()
    return (
        "\n".join([*_head(), *_rules(knowledge), *_doses(knowledge), *_parameters(knowledge), *_sources(knowledge)])
        + "\n"
    )


def _head() -> Iterator[str]:
    yield "# Clinical documentation"
    yield ""
    yield f"Knowledge version {VERSION}, checked against the sources on {CHECKED_ON}. This page is written by `make docs` from"
    yield "`service/logic/knowledge/`; the same is served under `/v1/rules`, `/v1/parameters` and `/v1/references`."
    yield ""
    yield "Principles: limits are compared in the unit in which the laboratory reported, its own reference range first; equality with a"
    yield "limit is normal. A rule whose input is missing says so and is never read as normal. No dose passes a closed kidney gate, an"
    yield "unreliable or probably protein-related value, an age or a pregnancy for which its row is not written. Where a rule rests on a"
    yield "brochure, slides, small trials or an engineering choice only, its line on the card says so. Codes in round brackets such as"
    yield "(C-01) number the known errors and conflicts of the sources."


def _rules(knowledge: Knowledge) -> Iterator[str]:
    group = ""
    for rule in RULES:
        if (title := GROUPS[rule.id[:4]].template) != group:
            group = title
            yield from ("", f"## {title}")
        yield from _rule(rule, knowledge.rules[rule.id], knowledge)


def _rule(rule: Rule, entry: RuleEntry, knowledge: Knowledge) -> Iterator[str]:
    yield from ("", f"### {rule.id} {entry.title}", "", entry.question, "")
    yield f"- **Inputs:** {', '.join(entry.inputs)}"
    yield f"- **Condition:** {entry.condition}"
    for name, text in (
        ("Suggests", entry.suggests),
        ("Guards", entry.guards),
        ("Limits of the evidence", entry.limits),
    ):
        if text:
            yield f"- **{name}:** {text}"
    if entry.parameters:
        yield f"- **Parameters:** {', '.join(f'`{name}`' for name in entry.parameters)}"
    yield f"- **On cards of:** {', '.join(sorted(hook.value for hook in rule.hooks))}{' (research, off by default)' if rule.research else ''}"
    cited = "; ".join(f"{knowledge.references[c.source].label}, {c.at}" for c in entry.citations)
    yield f"- **Sources:** {cited}"


def _doses(knowledge: Knowledge) -> Iterator[str]:
    yield from ("", "## Doses, and for whom each is written", "")
    yield "| row | dose | kidney gate | age | pregnancy | source |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for dose in knowledge.doses.values():
        source = "; ".join(knowledge.references[c.source].label for c in dose.citations)
        pregnancy = "yes" if dose.pregnancy else "no"
        kidney, ages = ", ".join(sorted(dose.kidney)), ", ".join(sorted(dose.ages))
        yield f"| `{dose.id}` | {dose.meaning}{_amount(dose)} | {kidney} | {ages} | {pregnancy} | {source} |"


def _amount(dose: Dose) -> str:
    if dose.amount is None:
        return ""
    low, high = dose.amount
    text = f": {low} to {high} {dose.unit}" if low != high else f": {low} {dose.unit}"
    return text + (f" over {dose.over[0]} to {dose.over[1]} {dose.over_unit}" if dose.over else "")


def _parameters(knowledge: Knowledge) -> Iterator[str]:
    yield from ("", "## Parameters", "", "| id | meaning | value | source | note |", "| --- | --- | --- | --- | --- |")
    for parameter in knowledge.parameters.values():
        sources = "; ".join(f"{knowledge.references[c.source].label}, {c.at}" for c in parameter.citations)
        note = parameter.note + (
            f" A site may set it from {parameter.site_bounds[0]} to {parameter.site_bounds[1]}."
            if parameter.site_bounds
            else ""
        )
        yield f"| `{parameter.id}` | {parameter.meaning} | {_values(parameter)} | {sources} | {note.strip()} |"


def _values(parameter: Parameter) -> str:
    single = [f"{value} {unit_in_words(unit)}" for unit, value in parameter.values.items()]
    spans = [f"{low} to {high} {unit_in_words(unit)}" for unit, (low, high) in parameter.interval.items()]
    return " = ".join([*single, *spans]).strip()


def _sources(knowledge: Knowledge) -> Iterator[str]:
    yield from ("", "## Sources", "", "| id | source | kind | position |", "| --- | --- | --- | --- |")
    for reference in knowledge.references.values():
        title = f"[{reference.title}]({reference.url})" if reference.url else reference.title
        yield f"| `{reference.id}` | {title} | {reference.kind} | {reference.interest} |"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
