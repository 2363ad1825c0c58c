"""Rules, parameters and references as JSON."""

from __future__ import annotations

from typing import Any

from service.governance.attributes import source_attributes
from service.logic.knowledge import CHECKED_ON, Knowledge, Parameter, Reference
from service.logic.model import Citation
from service.logic.rules.rule import Rule


def reference_body(reference: Reference) -> dict[str, Any]:
    """A source."""
    body = {
        "id": reference.id,
        "title": reference.title,
        "kind": reference.kind,
        "url": reference.url,
        "link": reference.link,
        "interest": reference.interest,
    }
    return {name: value for name, value in body.items() if value}


def citation_body(citation: Citation, knowledge: Knowledge) -> dict[str, Any]:
    """A place in a source, with the source's title."""
    reference = knowledge.references[citation.source]
    body = {
        "source": citation.source,
        "title": reference.title,
        "at": citation.at,
        "kind": reference.kind,
        "url": reference.url,
    }
    return {name: value for name, value in body.items() if value}


def parameter_body(parameter: Parameter, knowledge: Knowledge) -> dict[str, Any]:
    """A parameter with all its values and citations."""
    body: dict[str, Any] = {
        "id": parameter.id,
        "meaning": parameter.meaning,
        "values": [{"value": value, "unit": unit} for unit, value in parameter.values.items()]
        + [{"low": low, "high": high, "unit": unit} for unit, (low, high) in parameter.interval.items()],
        "citations": [citation_body(citation, knowledge) for citation in parameter.citations],
        "checkedOn": CHECKED_ON,
        "changedBySite": parameter.changed_by_site,
    }
    if parameter.note:
        body["note"] = parameter.note
    if parameter.site_bounds:
        body["siteMaySet"] = {"low": parameter.site_bounds[0], "high": parameter.site_bounds[1]}
    return body


def rule_body(rule: Rule, knowledge: Knowledge, mode: str) -> dict[str, Any]:
    """A rule: what it asks, when it fires, which numbers decide, on which sources it rests."""
    entry = knowledge.rules[rule.id]
    parameters = [name for name in entry.parameters if name in knowledge.parameters]
    body = {
        "id": rule.id,
        "name": rule.name,
        "title": entry.title,
        "question": entry.question,
        "inputs": list(entry.inputs),
        "condition": entry.condition,
        "suggests": entry.suggests,
        "guards": entry.guards,
        "limits": entry.limits,
        "hooks": sorted(hook.value for hook in rule.hooks),
        "mode": mode,
        "research": rule.research,
        "repeatDays": knowledge.rules[rule.id].repeat_days,
        "parameters": [parameter_body(knowledge.parameters[name], knowledge) for name in parameters],
        "citations": [citation_body(citation, knowledge) for citation in entry.citations],
        "statements": list(entry.statements),
        "sourceAttributes": source_attributes(rule.id, knowledge),
    }
    return {name: value for name, value in body.items() if value not in ("", [], None)}
