"""The sections of the paper as Markdown: intended use, device status, source attributes, hazard log, approval sheet."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import cache
from importlib.resources import files
from typing import Any

from service.governance.attributes import NEVER_READ, source_attributes, statements
from service.logic import repeat_guard, windows
from service.logic.knowledge import CHECKED_ON, VERSION, Knowledge
from service.logic.message import Message
from service.logic.model import Citation
from service.logic.rules import RULES

ENGINEERING = "engineering"
TO_BE_ASSIGNED = "to be assigned by the clinical safety officer"
Lines = Iterator[str]


@dataclass(frozen=True)
class Installation:
    """Whose paper it is: the knowledge with the site's own values, the mode of each rule, where a rule has its page."""

    knowledge: Knowledge
    mode: Callable[[str], str] = lambda _: "on"
    rules_at: str = ""

    def rule(self, rule_id: str) -> str:
        """The id of a rule, as a link where it has a page."""
        return f"[{rule_id}]({self.rules_at}{rule_id})" if self.rules_at else rule_id


@dataclass(frozen=True)
class Section:
    """One page of the paper."""

    id: str
    title: Message
    lines: Callable[[Installation], Lines]

    def markdown(self, installation: Installation) -> str:
        """The page, with its title and the versions it is of."""
        return "\n".join([f"# {self.title.template}", "", _version(installation), "", *self.lines(installation)]) + "\n"


@cache
def hazards() -> tuple[Mapping[str, Any], ...]:
    """The rows of the hazard log."""
    text = files(__package__).joinpath("hazards.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text)["hazard"])


def time_critical() -> dict[str, str]:
    """Rule -> why it is time-critical: the rules that a site may want to keep as reference text."""
    return {row["rule"]: row["why"] for row in statements()["device"]["time_critical"]}


def may_be_critical() -> frozenset[str]:
    """Every rule that may head a card with the indicator `critical`."""
    rows = statements()["device"]["may_be_critical"]
    return frozenset(time_critical()) | {rule for row in rows for rule in row["rules"]}


def _version(installation: Installation) -> str:
    changed = [p.id for p in installation.knowledge.parameters.values() if p.changed_by_site]
    modes = [f"{rule.id} {mode}" for rule in RULES if (mode := installation.mode(rule.id)) != "on"]
    own = "; ".join([*(f"`{name}` changed" for name in changed), *modes]) or "nothing"
    return f"Knowledge {VERSION}, held against its sources on {CHECKED_ON}. Changed by this site: {own}."


def _bullets(items: Iterable[str]) -> Lines:
    yield from (f"- {item}" for item in items)
    yield ""


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> Lines:
    names = list(heads)
    yield f"| {' | '.join(names)} |"
    yield f"|{' --- |' * len(names)}"
    yield from (f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows)
    yield ""


# ---- intended use ---------------------------------------------------------------------------------------------------


def _intended_use(_: Installation) -> Lines:
    use = statements()["use"]
    yield from (use["statement"], "", "## Users", "")
    yield from _bullets(use["users"])
    yield from ("## Patients", "")
    yield from _bullets(use["patients"])
    yield from ("## What it does not do", "")
    yield from _bullets(use["does_not"])
    yield from ("## Not to be used", "")
    yield from _bullets(use["contraindicated"])
    yield from ("## What only a person can sign", "", "Nothing here is signed by its being printed.", "")
    yield from _table(("what", "who", "what is decided", "name, date, signature"), _unsigned())


def _unsigned() -> Iterator[list[str]]:
    yield from ([*row, ""] for row in statements()["signatures"]["items"])


# ---- device status --------------------------------------------------------------------------------------------------


def _device(installation: Installation) -> Lines:
    device = statements()["device"]
    yield from (device["standing"], "", f"Read against: {device['guidance']}", "", device["read"], "")
    for criterion in device["criterion"]:
        yield from (f"## {criterion['name']}", "", criterion["reading"], "", f"*In doubt:* {criterion['doubt']}", "")
    yield from _time_critical(installation)
    yield from ("## Rule by rule", "", device["key"], "")
    yield from _table(
        ("rule", "what", "criterion 3", "criterion 4", "at this site"),
        (_device_row(rule.id, installation) for rule in RULES),
    )


def _time_critical(installation: Installation) -> Lines:
    yield from ("## Time-critical rules, and how a site keeps them as reference text", "")
    yield from _bullets(f"**{installation.rule(rule)}** {why}." for rule, why in time_critical().items())
    device = statements()["device"]
    for row in device["may_be_critical"]:
        yield from (f"{', '.join(installation.rule(rule) for rule in row['rules'])}: {row['why']}.", "")
    yield device["reference"]
    yield from ("", "```toml", "[rules]", *(f'{rule} = "reference"' for rule in time_critical()), "```", "")
    yield device["reference_all"]
    yield from ("", "```toml", "[rules]", *(f'{rule} = "reference"' for rule in sorted(may_be_critical())), "```", "")
    yield from (device["reference_lost"], "")


def _device_row(rule: str, installation: Installation) -> tuple[str, ...]:
    entry = installation.knowledge.rules[rule]
    doses = (installation.knowledge.doses[n.removeprefix("dose:")] for n in entry.parameters if n.startswith("dose:"))
    one = rule in time_critical() or any(dose.amount for dose in doses)
    output = "in doubt: one output" if one else "met: options"
    urgent = "**in doubt: time-critical**" if rule in time_critical() else "met"
    if urgent == "met" and rule in may_be_critical():
        urgent = "in doubt: may be critical"
    return installation.rule(rule), entry.title, output, urgent, installation.mode(rule)


# ---- source attributes ----------------------------------------------------------------------------------------------


def _attributes(installation: Installation) -> Lines:
    said = statements()["attributes"]
    yield from (said["rule"], "", said["read"], "", said["predictive"], "", "## Of every rule", "")
    yield from _bullets(
        (
            f"(2) Developer: {said['developer']}",
            f"(3) Funding source: {said['funding']}",
            f"(4) Release: knowledge {VERSION}; held against its sources on {CHECKED_ON}. Sources state their years below.",
            f"{', '.join(f'({number}) {words}' for number, words in NEVER_READ.values())}: not read.",
            *_how_used(installation),
        )
    )
    yield from ("## Rule by rule", "", "The same as JSON: `GET /v1/rules/{id}`, member `sourceAttributes`.", "")
    yield from _table(
        (
            "rule",
            "(1) bibliographic citation",
            "(10) sex, through",
            "(11) date of birth, through",
            "(13) health status",
        ),
        (_attribute_row(rule.id, installation) for rule in RULES),
    )


def _how_used(installation: Installation) -> Lines:
    """How an attribute that some rule uses is used; each is said once."""
    uses = (source_attributes(rule.id, installation.knowledge)["use"].items() for rule in RULES)
    told = {name: use["how"] for rule in uses for name, use in rule if use["used"]}
    numbers = {"sex": "(10) Sex", "dateOfBirth": "(11) Date of birth", "healthStatusAssessments": "(13) Health status"}
    yield from (f"{numbers[name]}: {told[name]}" for name in numbers if name in told)


def _attribute_row(rule: str, installation: Installation) -> tuple[str, ...]:
    told = source_attributes(rule, installation.knowledge)
    through = (", ".join(told["use"][name].get("inputs", ())) or "not used" for name in _PERSONAL)
    return installation.rule(rule), "; ".join(told["bibliographicCitation"]), *through


_PERSONAL = ("sex", "dateOfBirth", "healthStatusAssessments")


# ---- hazard log -----------------------------------------------------------------------------------------------------


def _hazard_log(_: Installation) -> Lines:
    said = statements()["hazards"]
    yield from (said["form"], "", f"{said['scales']} **{TO_BE_ASSIGNED}**, {said['none']}", "")
    for row in hazards():
        yield from _hazard(row)


def _hazard(row: Mapping[str, Any]) -> Lines:
    yield from (f"## {row['id']} {row['hazard']}", "")
    tests = [*(f"`tests/{test}`" for test in row["tests"]), *(f"vignette *{case}*" for case in row.get("cases", ()))]
    yield from _table(
        ("field", "entry"),
        (
            ("possible clinical effect", row["effect"]),
            ("causes", "; ".join(row["causes"])),
            ("initial severity, likelihood, risk", TO_BE_ASSIGNED),
            ("controls: guard in code", ", ".join(f"`{guard}`" for guard in row["guards"])),
            ("evidence: test that shows it", ", ".join(tests)),
            ("residual risk", row["residual"]),
            ("residual severity, likelihood, acceptability", TO_BE_ASSIGNED),
            ("owner, status, date", ""),
        ),
    )


# ---- approval sheet -------------------------------------------------------------------------------------------------


def _approval(installation: Installation) -> Lines:
    knowledge = installation.knowledge
    yield statements()["approval"]["what"]
    for title, rows in (
        ("Limits and windows", _parameters(installation)),
        ("Doses", _doses(knowledge)),
        ("Rules", _rules(installation)),
        ("The repeat guard and the reader", _constants(knowledge)),
    ):
        yield from ("", f"## {title}", "")
        yield from _table(("choice", "value", "reason", "approved: yes, or change to", "name, date"), rows)


def _parameters(installation: Installation) -> Iterator[tuple[str, ...]]:
    knowledge = installation.knowledge
    for parameter in knowledge.parameters.values():
        if reason := _reason(parameter.citations, knowledge):
            bounds = f" (a site may set {_span(parameter.site_bounds)})" if parameter.site_bounds else ""
            values = [f"{value} {unit_in_words(unit)}" for unit, value in parameter.values.items()]
            values += [f"{_span(ends)} {unit_in_words(unit)}" for unit, ends in parameter.interval.items()]
            own = " **changed by this site**" if parameter.changed_by_site else ""
            note = f" {parameter.note}." if parameter.note else ""
            decides = [
                installation.rule(entry.id) for entry in knowledge.rules.values() if parameter.id in entry.parameters
            ]
            why = f"{reason}{note} Decides: {', '.join(decides) or 'what is read'}."
            yield f"`{parameter.id}`: {parameter.meaning}", " = ".join(values) + bounds + own, why, "", ""


def unit_in_words(unit: str) -> str:
    """A unit as a reader writes it; "" for a share."""
    return _UNITS.get(unit, unit)


_UNITS = {
    "1": "",
    "a": "years",
    "d": "days",
    "meq/L": "mEq/L",
    "umol/L": "µmol/L",
    "mL/min/{1.73_m2}": "mL/min/1.73 m²",
}


def _span(ends: tuple[Decimal, Decimal]) -> str:
    low, high = ends
    return f"{low} to {high}" if low != high else f"{low}"


def _doses(knowledge: Knowledge) -> Iterator[tuple[str, ...]]:
    for dose in knowledge.doses.values():
        if reason := _reason(dose.citations, knowledge):
            amount = f"{_span(dose.amount)} {dose.unit}" if dose.amount else "no amount"
            over = f" over {_span(dose.over)} {dose.over_unit}" if dose.over else ""
            yield f"`{dose.id}`: {dose.meaning}", amount + over, reason, "", ""


def _rules(installation: Installation) -> Iterator[tuple[str, ...]]:
    for rule in RULES:
        entry = installation.knowledge.rules[rule.id]
        if reason := _reason(entry.citations, installation.knowledge):
            yield f"{installation.rule(rule.id)} {entry.title}", entry.condition, reason, "", ""


def _reason(citations: Iterable[Citation], knowledge: Knowledge) -> str:
    """What is engineering about a row, and which source it leans on; "" where nothing is."""
    cited = list(citations)
    own = [c.at for c in cited if c.source == ENGINEERING]
    leaning = [f"{knowledge.references[c.source].label}, {c.at}" for c in cited if c.source != ENGINEERING]
    beside = f" Beside: {'; '.join(leaning)}." if leaning else ""
    return f"{'; '.join(own)}.{beside}" if own else ""


def _constants(knowledge: Knowledge) -> Iterator[tuple[str, ...]]:
    own = ", ".join(f"{rule.id} {days} d" for rule in RULES if (days := knowledge.rules[rule.id].repeat_days))
    guard, hour, day = repeat_guard, timedelta(hours=1), timedelta(days=1)
    warning = f"{guard.WARNING_DAYS} d in hospital, {guard.WARNING_DAYS_AMBULATORY} d in ambulatory care"
    chosen = (
        ("the same critical finding is shown again after", f"{guard.HOUR // hour} h", "or at a newer result"),
        ("the same warning is shown again after", warning, "a day's round; a month between visits"),
        ("the same information is shown again after", f"{guard.INFO_DAYS} d", "a week"),
        ("rules with an interval of their own", own, "what is asked once a month or once a year"),
        ("a magnesium that changed by this is news", f"{guard.MG_SHIFT} mmol/L", "beyond the imprecision of the assay"),
        ("a date without a time is looked back for", f"{windows.DAY_WITHOUT_TIME // day} d more", "whatever the zone"),
    )
    yield from ((what, value, reason, "", "") for what, value, reason in chosen)


SECTIONS = (
    Section("intended-use", Message("Intended use"), _intended_use),
    Section("device-status", Message("What is and is not a device"), _device),
    Section("source-attributes", Message("Source attributes"), _attributes),
    Section("hazard-log", Message("Hazard log"), _hazard_log),
    Section("approval-sheet", Message("Approval sheet"), _approval),
)
