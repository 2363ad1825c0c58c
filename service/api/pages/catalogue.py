"""The pages of the knowledge: what each rule asks, which numbers decide it, and on which sources they rest."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache, partial
from importlib.resources import files
from itertools import groupby
from typing import Any

import flask
import msgspec

from service.api.dependencies import Dependencies
from service.api.pages import figures
from service.api.pages.page import page, reader
from service.logic.knowledge import CHECKED_ON, Knowledge, Parameter, load
from service.logic.message import Message
from service.logic.model import Dose
from service.logic.rules import GROUPS, RULES
from service.logic.rules.rule import Rule
from service.settings.site import RuleMode

_MODES = {
    RuleMode.ON: Message("in force"),
    RuleMode.SILENT: Message("evaluated, but shown on no card"),
    RuleMode.REFERENCE: Message("reference text only: no recommendation"),
    RuleMode.OFF: Message("switched off"),
}


def rules(deps: Dependencies) -> flask.Response:
    """The list of the rules, in their groups."""
    groups = [(GROUPS[key].template, [*listed]) for key, listed in groupby(RULES, lambda rule: rule.id[:4])]
    return _page("rules.html", deps, groups=groups)


def rule(one: Rule, deps: Dependencies) -> flask.Response:
    """One rule. `?also=R-041,R-055` names the other rules of the card whose link was followed."""
    entry = deps.site.knowledge.rules[one.id]
    also = [name for name in flask.request.args.get("also", "").split(",") if name in deps.site.knowledge.rules]
    return _page(
        "rule.html",
        deps,
        rule=one,
        entry=entry,
        also=[name for name in dict.fromkeys(also) if name != one.id],
        decisive=_parameters(entry.parameters, deps.site.knowledge),
        doses=_doses(entry.parameters, deps.site.knowledge),
        examples=_data("examples.json").get(one.id, []),
        burden=_data("burden.json"),
    )


def parameters(deps: Dependencies) -> flask.Response:
    """Every number: limits and windows, doses, reference ranges, what to keep apart."""
    return _page("parameters.html", deps, doses=deps.site.knowledge.doses.values())


def parameter(one: Parameter, deps: Dependencies) -> flask.Response:
    """One number, with the rules that it decides."""
    decided = [entry for entry in deps.site.knowledge.rules.values() if one.id in entry.parameters]
    return _page("parameter.html", deps, parameter=one, decided=decided)


def references(deps: Dependencies) -> flask.Response:
    """The sources, each with the rules that cite it."""
    citing = {
        source: [entry for entry in deps.site.knowledge.rules.values() if source in {c.source for c in entry.citations}]
        for source in deps.site.knowledge.references
    }
    return _page("references.html", deps, citing=citing)


def _page(template: str, deps: Dependencies, **values: object) -> flask.Response:
    who = reader(deps.settings.service)
    written = {
        name: partial(getattr(figures, name), reader=who) for name in ("values", "spans", "amount", "age", "apart")
    }
    known = {"knowledge": deps.site.knowledge, "shipped": load(), "mode": deps.mode, "checked_on": CHECKED_ON}
    known["mode_words"] = {mode.value: words.template for mode, words in _MODES.items()}
    return page(template, deps.settings.service, **known, **written, **values)


def _parameters(names: Iterable[str], knowledge: Knowledge) -> list[Parameter]:
    return [knowledge.parameters[name] for name in names if name in knowledge.parameters]


def _doses(names: Iterable[str], knowledge: Knowledge) -> list[Dose]:
    return [knowledge.doses[name.removeprefix("dose:")] for name in names if name.startswith("dose:")]


@cache
def _data(name: str) -> dict[str, Any]:
    """Figures that `tools/` has written beside this module."""
    told: dict[str, Any] = msgspec.json.decode(files(__package__).joinpath(name).read_bytes())
    return told
