"""The knowledge to browse under /v1: a page for a person, JSON for everybody else, at the same address."""

from __future__ import annotations

import flask

from service.api.dependencies import Dependencies
from service.api.pages import catalogue
from service.api.pages.page import negotiated
from service.errors import NotFound
from service.knowledge_json import parameter_body, reference_body, rule_body
from service.logic.knowledge import CHECKED_ON, VERSION
from service.logic.rules import RULES


def browse(rest: flask.Blueprint, deps: Dependencies) -> None:
    """Add the routes for rules, parameters and references."""
    _rules(rest, deps)
    _parameters(rest, deps)

    @rest.get("/references")
    def references() -> flask.Response:
        """The sources."""
        return negotiated(
            lambda: {"references": [reference_body(r) for r in deps.site.knowledge.references.values()]},
            lambda: catalogue.references(deps),
        )


def _rules(rest: flask.Blueprint, deps: Dependencies) -> None:
    knowledge = deps.site.knowledge

    @rest.get("/rules")
    def rules() -> flask.Response:
        """Every rule of the catalogue."""
        listed = (rule_body(rule, knowledge, deps.mode(rule.id)) for rule in RULES)
        return negotiated(
            lambda: {"version": VERSION, "checkedOn": CHECKED_ON, "rules": [*listed]},
            lambda: catalogue.rules(deps),
        )

    @rest.get("/rules/<rule_id>")
    def rule(rule_id: str) -> flask.Response:
        """One rule."""
        found = next((rule for rule in RULES if rule.id == rule_id.upper()), None)
        if found is None:
            raise NotFound("there is no rule of this id", "$.id")
        return negotiated(
            lambda: rule_body(found, knowledge, deps.mode(found.id)),
            lambda: catalogue.rule(found, deps),
        )


def _parameters(rest: flask.Blueprint, deps: Dependencies) -> None:
    knowledge = deps.site.knowledge

    @rest.get("/parameters")
    def parameters() -> flask.Response:
        """Every limit, window and factor, with unit and source."""
        listed = (parameter_body(parameter, knowledge) for parameter in knowledge.parameters.values())
        return negotiated(
            lambda: {"version": VERSION, "parameters": [*listed]},
            lambda: catalogue.parameters(deps),
        )

    @rest.get("/parameters/<parameter_id>")
    def parameter(parameter_id: str) -> flask.Response:
        """One parameter."""
        found = knowledge.parameters.get(parameter_id)
        if found is None:
            raise NotFound("there is no parameter of this id", "$.id")
        return negotiated(lambda: parameter_body(found, knowledge), lambda: catalogue.parameter(found, deps))
