"""The CDS Hooks endpoints: discovery, the services, feedback. Views that only translate."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import flask
import msgspec
import structlog

from service.api import audit, feedback, hook_request
from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.fhir_access import fetch_for, fhir_base
from service.api.http.instrumentation import stopwatch
from service.api.http.request_body import FEEDBACK_BYTES, HookRequest, decode, require_json
from service.api.http.responses import json_answer
from service.api.presentation import presentation
from service.api.proof import proved_body
from service.api.repeats import without_repeats
from service.cds.services import BY_ID, Service, discovery
from service.decide import Call, Decision, decide_call
from service.errors import NotFound
from service.store.card_ids import CardIds

_NOT_CLINICIANS = ("Patient/", "RelatedPerson/")
_NOT_SHOWN = "silent "  # before a user: what was held back in silent mode nobody has seen, once cards are shown


def blueprint(deps: Dependencies) -> flask.Blueprint:
    """The routes under /cds-services."""
    hooks = flask.Blueprint("hooks", __name__)
    document = msgspec.json.encode(discovery())
    etag = hashlib.sha256(document).hexdigest()[:16]

    @hooks.get("/cds-services", strict_slashes=False)
    def discover() -> flask.Response:
        """The services offered; open to everybody, the same for everybody."""
        response = flask.Response(document, mimetype="application/json")
        response.set_etag(etag)
        response.make_conditional(flask.request)
        return response

    @hooks.post("/cds-services/<service_id>", strict_slashes=False)
    def call(service_id: str) -> flask.Response:
        """One hook call: cards, or an OperationOutcome."""
        return _call(service_id, deps)

    @hooks.post("/cds-services/<service_id>/feedback", endpoint="feedback", strict_slashes=False)
    def report(service_id: str) -> flask.Response:
        """What became of cards."""
        return _feedback(service_id, deps)

    return hooks


def _call(service_id: str, deps: Dependencies) -> flask.Response:
    now = deps.clock()
    service = _service(service_id)
    data, caller = proved_body(deps, f"/cds-services/{service_id}", now)
    require_json()
    with deps.gate:
        return _answer(data, service, caller, deps, now)


def _answer(data: bytes, service: Service, caller: Caller, deps: Dependencies, now: datetime) -> flask.Response:
    request = decode(HookRequest, data)
    hook_request.check(request, service, use_id_not_hook=deps.settings.service.use_id_not_hook)
    how = presentation(deps, caller)
    said = _as_call(request, service, caller, deps, now)
    decision = decide_call(said, deps.site, how, stopwatch())
    withheld = said.context.get("userId", "").startswith(_NOT_CLINICIANS)
    if withheld:
        decision = replace(decision, cards=[])
    _sign(decision, deps.store.card_ids, caller.name, service.id, now)
    silent = deps.settings.service.silent or caller.tenant.silent
    patient, user = said.context.get("patientId", ""), said.context.get("userId", "")
    reader = f"{_NOT_SHOWN}{user}" if silent and user else user
    decision, repeated = without_repeats(decision, deps.store.repeats, caller.name, patient, reader, now)
    if not silent:
        deps.store.remember_cards(audit.card_rows(decision, service.id, caller, now))
    audit.decided(decision, service.id, caller, withheld=withheld, repeated=repeated, silent=silent)
    return json_answer({"cards": [] if silent else [card.body for card in decision.cards]}, how.wording.language)


def _sign(decision: Decision, ids: CardIds, tenant: str, service: str, now: datetime) -> None:
    """Give cards and suggestions ids by which their feedback is known again at every replica."""
    for card in decision.cards:
        card.body["uuid"] = ids.new(tenant, service, now.astimezone(UTC).date())
        for number, suggestion in enumerate(card.body.get("suggestions", ())):
            suggestion["uuid"] = ids.suggestion(card.body["uuid"], number)


def _service(service_id: str) -> Service:
    service = BY_ID.get(service_id)
    if service is None:
        raise NotFound("there is no CDS service of this id", "$.id")
    structlog.contextvars.bind_contextvars(service=service.id)
    return service


def _as_call(request: HookRequest, service: Service, caller: Caller, deps: Dependencies, now: datetime) -> Call:
    raw = request.context or {}
    context = hook_request.context(raw, service)
    return Call(
        hook=hook_request.judged_as(request, service.hook),
        as_of=now,
        context=context,
        templates=service.prefetch,
        prefetch={key: bytes(value) for key, value in (request.prefetch or {}).items()},
        drafts=tuple(hook_request.drafts(raw, service.hook)),
        selections=hook_request.selections(raw, service.hook),
        aliases=caller.tenant.aliases,
        unsent=frozenset(caller.tenant.unsent),
        fetch=fetch_for(request, context.get("patientId", ""), caller, deps),
        fhir_server=fhir_base(request),
    )


def _feedback(service_id: str, deps: Dependencies) -> flask.Response:
    now = deps.clock()
    service = _service(service_id)
    data, caller = proved_body(deps, f"/cds-services/{service_id}/feedback", now, FEEDBACK_BYTES)
    require_json()
    return feedback.receive(data, service, caller, deps, now)
