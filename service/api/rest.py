"""The REST API: a posted Bundle evaluated, the knowledge to browse, feedback in numbers. Views that only translate."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import flask

from service.api import audit, feedback
from service.api.auth.tokens import Caller
from service.api.calculations import CALCULATIONS
from service.api.dependencies import Dependencies
from service.api.http.instrumentation import stopwatch
from service.api.http.request_body import (
    CALCULATION_BYTES,
    EvaluateContext,
    EvaluateRequest,
    decode,
    decode_object,
    read_bytes,
    require_json,
    strings,
)
from service.api.http.responses import json_answer
from service.api.presentation import presentation
from service.api.proof import proved_body
from service.cds.cards import Presentation
from service.cds.i18n import LANGUAGES, Wording
from service.decide import decide
from service.errors import BadRequest, NotFound
from service.evaluation_json import explain
from service.fhir import primitives
from service.fhir.decode import MAX_ENTRIES, BundleContents, Resource, read_bundle
from service.fhir.ownership import EvaluationInput, sole_patient
from service.knowledge_json import parameter_body, reference_body, rule_body
from service.logic.knowledge import CHECKED_ON, VERSION
from service.logic.message import Message
from service.logic.model import DataIssue, Hook
from service.logic.rules import RULES


def blueprint(deps: Dependencies) -> flask.Blueprint:
    """The routes under /v1."""
    rest = flask.Blueprint("rest", __name__, url_prefix="/v1")

    @rest.post("/evaluate")
    def evaluate() -> flask.Response:
        """The same decision as the hooks, on a posted Bundle, at a chosen moment."""
        return _evaluate(deps)

    @rest.post("/calculations/<name>")
    def calculate(name: str) -> flask.Response:
        """One formula alone."""
        return _calculate(name, deps)

    _browse(rest, deps)

    @rest.get("/feedback/summary")
    def feedback_summary() -> flask.Response:
        """Shown, accepted and overridden cards per rule, version and week."""
        return feedback.summary(_authenticated("/v1/feedback/summary", deps), deps)

    return rest


def _browse(rest: flask.Blueprint, deps: Dependencies) -> None:
    knowledge = deps.site.knowledge

    @rest.get("/rules")
    def rules() -> flask.Response:
        """Every rule of the catalogue."""
        listed = [rule_body(rule, knowledge, deps.mode(rule.id)) for rule in RULES]
        return json_answer({"version": VERSION, "checkedOn": CHECKED_ON, "rules": listed})

    @rest.get("/rules/<rule_id>")
    def rule(rule_id: str) -> flask.Response:
        """One rule."""
        found = next((rule for rule in RULES if rule.id == rule_id.upper()), None)
        if found is None:
            raise NotFound("there is no rule of this id", "$.id")
        return json_answer(rule_body(found, knowledge, deps.mode(found.id)))

    @rest.get("/parameters")
    def parameters() -> flask.Response:
        """Every limit, window and factor, with unit and source."""
        listed = [parameter_body(parameter, knowledge) for parameter in knowledge.parameters.values()]
        return json_answer({"version": VERSION, "parameters": listed})

    @rest.get("/parameters/<parameter_id>")
    def parameter(parameter_id: str) -> flask.Response:
        """One parameter."""
        if parameter_id not in knowledge.parameters:
            raise NotFound("there is no parameter of this id", "$.id")
        return json_answer(parameter_body(knowledge.parameters[parameter_id], knowledge))

    @rest.get("/references")
    def references() -> flask.Response:
        """The sources."""
        return json_answer({"references": [reference_body(r) for r in knowledge.references.values()]})


def _authenticated(path: str, deps: Dependencies) -> Caller:
    return deps.authenticate(flask.request.headers.get("Authorization"), path, deps.clock())


# ---- evaluate -------------------------------------------------------------------------------------------------------


def _evaluate(deps: Dependencies) -> flask.Response:
    data, caller = proved_body(deps, "/v1/evaluate", deps.clock())
    require_json()
    with deps.gate:
        return _evaluated(data, caller, deps)


def _evaluated(data: bytes, caller: Caller, deps: Dependencies) -> flask.Response:
    request = decode(EvaluateRequest, data)
    chart = _chart(request, deps)
    how = _in_zone_of(chart.as_of, presentation(deps, caller, _language(request.language)))
    site = _site(request, deps)
    decision = decide(chart, site, how, explain=True, timed=stopwatch())
    audit.decided(decision, "evaluate", caller)
    return json_answer(explain(decision, site.knowledge, how), how.wording.language)


def _in_zone_of(as_of: datetime, how: Presentation) -> Presentation:
    """Times in the zone in which the call states its moment; "Z" states none, so that the site's stands."""
    if as_of.tzinfo is None or as_of.utcoffset() == timedelta(0):
        return how
    return replace(how, wording=Wording(how.wording.language, as_of.tzinfo))


def _language(wanted: str | None) -> str:
    if wanted is None:
        return ""
    if wanted.split("-")[0].lower() not in LANGUAGES:
        raise BadRequest(f"language must be one of {', '.join(LANGUAGES)}", "$.language")
    return wanted.split("-")[0].lower()


def _site(request: EvaluateRequest, deps: Dependencies) -> Any:
    options, site = request.options, deps.site
    if options is None:
        return site
    profile = options.referenceProfile or site.profile
    if profile not in site.knowledge.profiles:
        names = ", ".join(site.knowledge.profiles)
        raise BadRequest(f"referenceProfile must be one of {names}", "$.options.referenceProfile")
    return replace(site, profile=profile, research=options.researchRules or site.research)


def _chart(request: EvaluateRequest, deps: Dependencies) -> EvaluationInput:
    context = request.context or EvaluateContext()
    sheaf = _bundle(bytes(request.bundle), "$.bundle")
    patient = context.patientId if context.patientId is not None else _patient(sheaf)
    return EvaluationInput(
        patient_id=patient.removeprefix("Patient/"),
        encounter_id=(context.encounterId or "").removeprefix("Encounter/"),
        as_of=_as_of(request.asOf, deps),
        hook=_hook(request.hook),
        resources=tuple(sheaf.resources),
        drafts=tuple(_drafts(context)),
        selections=strings(context.selections, "$.context.selections") or (),
        issues=tuple(DataIssue(place, Message("Not a FHIR resource: not read.")) for place in sheaf.invalid_entries),
    )


def _bundle(raw: bytes, where: str) -> BundleContents:
    sheaf = read_bundle(raw, where, MAX_ENTRIES)
    if not sheaf.is_bundle and not sheaf.resources and not sheaf.outcomes:
        raise BadRequest("a FHIR Bundle, a resource or an array of resources is expected", where)
    if sheaf.outcomes and not sheaf.resources:
        raise BadRequest("an OperationOutcome came instead of data: what was read before this call had failed", where)
    return sheaf


def _patient(sheaf: BundleContents) -> str:
    found = sole_patient(sheaf.resources)
    if found is None:
        raise BadRequest("the Bundle holds several patients; name one in context.patientId", "$.context.patientId")
    return found


def _drafts(context: EvaluateContext) -> list[Resource]:
    """The orders of order hooks, and the medications of a refill."""
    given = {"draftOrders": bytes(context.draftOrders), "medications": bytes(context.medications)}
    return [
        resource
        for member, value in given.items()
        if value != b"null"
        for resource in _bundle(value, f"$.context.{member}").resources
    ]


def _as_of(wanted: str | None, deps: Dependencies) -> datetime:
    if wanted is None:
        return deps.clock()
    moment = primitives.when(wanted, deps.site.zone)
    if moment is None:
        raise BadRequest("asOf must be a date or dateTime such as 2025-06-15T10:00:00Z", "$.asOf")
    return moment.end


def _hook(name: str) -> Hook:
    try:
        return Hook(name)
    except ValueError as error:
        raise BadRequest(f"hook must be one of {', '.join(Hook)}", "$.hook") from error


# ---- calculations and feedback --------------------------------------------------------------------------------------


def _calculate(name: str, deps: Dependencies) -> flask.Response:
    data = read_bytes(CALCULATION_BYTES)
    calculation = CALCULATIONS.get(name)
    if calculation is None:
        raise NotFound(f"calculations are {', '.join(CALCULATIONS)}", "$.name")
    require_json()
    return json_answer(calculation(decode_object(data), deps.site.knowledge))
