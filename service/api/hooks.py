"""The CDS Hooks endpoints: discovery, the services, feedback. Views that only translate."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime

import flask
import msgspec
import structlog

from service.api import audit, hook_request
from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.fhir_access import fetch_for
from service.api.http.instrumentation import stopwatch
from service.api.http.request_body import FEEDBACK_BYTES, HookRequest, as_text, decode, decode_object, require_json
from service.api.http.responses import json_answer
from service.api.presentation import presentation
from service.api.proof import proved_body
from service.cds.catalogue import BY_ID, Service, discovery
from service.decide import Call, decide_call
from service.errors import NotFound
from service.store.feedback import parse_items

_NOT_CLINICIANS = ("Patient/", "RelatedPerson/")


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

    @hooks.post("/cds-services/<service_id>/feedback", strict_slashes=False)
    def feedback(service_id: str) -> flask.Response:
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
    deps.store.remember_cards(audit.card_rows(decision, service.id, caller, now))
    audit.decided(decision, service.id, caller, withheld=withheld)
    return json_answer({"cards": [card.body for card in decision.cards]}, how.wording.language)


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
        fetch=fetch_for(request, context.get("patientId", ""), caller, deps),
        fhir_server=as_text(request.fhirServer),
    )


def _feedback(service_id: str, deps: Dependencies) -> flask.Response:
    now = deps.clock()
    service = _service(service_id)
    data, caller = proved_body(deps, f"/cds-services/{service_id}/feedback", now, FEEDBACK_BYTES)
    require_json()
    with deps.gate:
        items, rejected = parse_items(decode_object(data))
    report = deps.store.record_feedback(service.id, items, now)
    audit.reported(items, rejected, report, caller)
    answer = {"accepted": report.accepted, "duplicates": report.duplicates, "unknownCards": report.unknown_cards}
    if rejected:
        answer["rejected"] = [{"where": f"$.feedback[{r.index}]", "reason": r.reason} for r in rejected]  # type: ignore[assignment]
    return json_answer(answer)
