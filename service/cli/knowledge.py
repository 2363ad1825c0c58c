"""`rules` and `explain`: the catalogue of rules, and one rule with its limits, sources and doubts."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from service.cli.setup import Setup, prepare, site_option
from service.cli.terminal import styled, table, width
from service.knowledge_json import rule_body
from service.logic.knowledge import CHECKED_ON, VERSION, Band, Interaction, Knowledge, Parameter, RuleEntry
from service.logic.model import Citation, Dose
from service.logic.rules import RULES
from service.logic.rules.rule import Rule
from service.settings.site import RuleMode

_ENCODER = msgspec.json.Encoder(decimal_format="number")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the answer of GET /v1/rules.")
@site_option
def rules(site: Path | None, as_json: bool) -> None:
    """List the rules: id, whether it is on at this site, the hooks on whose cards it speaks, and its title."""
    setup = prepare(site)
    if as_json:
        listed = [_body(rule, setup) for rule in RULES]
        click.echo(_json({"version": VERSION, "checkedOn": CHECKED_ON, "rules": listed}))
        return
    rows = [(r.id, _mode(r, setup), " ".join(_hooks(r)), setup.site.knowledge.rules[r.id].title) for r in RULES]
    click.echo(table(f"Knowledge {VERSION}, {len(rows)} rules", ("id", "mode", "hooks", "title"), rows, width()))


@click.command()
@click.argument("rule_id", metavar="R-0xx")
@click.option("--json", "as_json", is_flag=True, help="Print the answer of GET /v1/rules/R-0xx.")
@site_option
def explain(rule_id: str, site: Path | None, as_json: bool) -> None:
    """Say what a rule asks, when it fires, with which limits and sources, and what the evidence does not show."""
    number = re.fullmatch(r"(?:R-?)?(\d{1,3})", rule_id.upper(), re.ASCII)
    found = next((rule for rule in RULES if number and rule.id == f"R-{number[1]:0>3}"), None)
    if found is None:
        raise click.UsageError(f"there is no rule {rule_id}; `rules` lists them")
    setup = prepare(site)
    click.echo(_json(_body(found, setup)) if as_json else "\n\n".join(_explained(found, setup)))


def _body(rule: Rule, setup: Setup) -> dict[str, Any]:
    return rule_body(rule, setup.site.knowledge, setup.settings.rules.get(rule.id, RuleMode.ON).value)


def _json(body: dict[str, Any]) -> str:
    return msgspec.json.format(_ENCODER.encode(body), indent=2).decode()


def _mode(rule: Rule, setup: Setup) -> str:
    mode = setup.settings.rules.get(rule.id, RuleMode.ON)
    asleep = mode is RuleMode.ON and rule.research and not setup.site.research
    return "research" if asleep else mode.value


def _hooks(rule: Rule) -> list[str]:
    return sorted(hook.value for hook in rule.hooks)


# ---- one rule -------------------------------------------------------------------------------------------------------


def _explained(rule: Rule, setup: Setup) -> Iterator[str]:
    knowledge = setup.site.knowledge
    entry = knowledge.rules[rule.id]
    yield f"{styled(f'{rule.id} · {entry.title}')}\n{rule.name} · {_mode(rule, setup)} · {', '.join(_hooks(rule))}"
    yield _section("Question", [entry.question])
    yield _section("Inputs", [", ".join(entry.inputs)])
    yield _section("Fires when", [entry.condition])
    yield _section("Limits", _limits(entry, setup))
    yield _section("Suggests", [entry.suggests])
    yield _section("Guards", [entry.guards])
    yield _section("What the evidence does not show", [entry.limits])
    yield _section("Sources", [_source(citation, knowledge) for citation in entry.citations])


def _section(title: str, paragraphs: Iterable[str]) -> str:
    lines = [line for paragraph in paragraphs for line in _wrapped(paragraph)]
    return "\n".join([styled(title), *(lines or ["  nothing stated"])])


def _wrapped(paragraph: str) -> list[str]:
    return textwrap.wrap(paragraph, width(), initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False)


def _source(citation: Citation, knowledge: Knowledge) -> str:
    reference = knowledge.references[citation.source]
    parts = [reference.title, citation.at, reference.kind, reference.interest, reference.url]
    return " · ".join(part for part in parts if part)


# ---- limits ---------------------------------------------------------------------------------------------------------


def _limits(entry: RuleEntry, setup: Setup) -> Iterator[str]:
    knowledge = setup.site.knowledge
    for name in entry.parameters:
        if name == "profile":
            yield from (_band(band, knowledge) for band in knowledge.profiles[setup.site.profile])
        elif name == "interactions":
            yield from (_interaction(row, knowledge) for row in knowledge.interactions)
        elif name.startswith("dose:"):
            yield _dose(knowledge.doses[name.removeprefix("dose:")], knowledge)
        else:
            yield _parameter(knowledge.parameters[name], knowledge)


def _parameter(parameter: Parameter, knowledge: Knowledge) -> str:
    values = [f"{value} {unit}" for unit, value in parameter.values.items()]
    values += [_interval(ends, unit) for unit, ends in parameter.interval.items()]
    changed = " (changed by the site)" if parameter.changed_by_site else ""
    note = f" Note: {parameter.note}." if parameter.note else ""
    cited = _cited(parameter.citations, knowledge)
    return f"{parameter.id} = {' · '.join(values)}{changed}: {parameter.meaning}.{note} {cited}"


def _interval(ends: tuple[Decimal, Decimal], unit: str) -> str:
    low, high = ends
    return f"{low} to {high} {unit}" if low != high else f"{low} {unit}"


def _dose(dose: Dose, knowledge: Knowledge) -> str:
    amount = f" = {_interval(dose.amount, dose.unit)}" if dose.amount else ""
    over = f" over {_interval(dose.over, dose.over_unit)}" if dose.over else ""
    kidney = ", ".join(sorted(dose.kidney))
    ages = ", ".join(sorted(dose.ages))
    note = f" Note: {dose.note}." if dose.note else ""
    return (
        f"dose {dose.id}{amount}{over}: {dose.meaning}.{note} "
        f"Kidney: {kidney}; age: {ages}. {_cited(dose.citations, knowledge)}"
    )


def _band(band: Band, knowledge: Knowledge) -> str:
    values = " · ".join(_interval(ends, unit) for unit, ends in band.interval.items())
    age = f"{band.months // 12} years" if band.months >= 24 else f"{band.months} months" if band.months else ""
    return f"reference range from {age or f'{band.days} days'} = {values}. {_cited([band.citation], knowledge)}"


def _interaction(row: Interaction, knowledge: Knowledge) -> str:
    hours = f" = {row.hours[0]} h before or {row.hours[1]} h after magnesium" if row.hours else " = not together"
    return f"interaction {row.id}{hours}. {_cited(row.citations, knowledge)}"


def _cited(citations: Iterable[Citation], knowledge: Knowledge) -> str:
    places = (f"{_label(citation.source, knowledge)}, {citation.at}" for citation in citations)
    return f"[{'; '.join(places)}]"


def _label(source: str, knowledge: Knowledge) -> str:
    reference = knowledge.references[source]
    return reference.label or reference.title
