"""The CDS Hooks endpoints: discovery, the services, feedback. Views that only translate."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import datetime

import flask
import msgspec
import structlog

from service.api import audit, envelope, telemetry
from service.api.access import fetch_for
from service.api.answers import json_answer, presentation
from service.api.auth import Caller
from service.api.body import HookRequest, decode, decode_object, read_bytes, require_json
from service.api.tools import Tools
from service.cds.catalogue import BY_ID, Service, discovery
from service.decide import Call, decide_call
from service.errors import NotFound
from service.store.feedback import parse_items

_NOT_CLINICIANS = ("Patient/", "RelatedPerson/")


def blueprint(tools: Tools) -> flask.Blueprint:
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
        return _call(service_id, tools)

    @hooks.post("/cds-services/<service_id>/feedback", strict_slashes=False)
    def feedback(service_id: str) -> flask.Response:
        """What became of cards."""
        return _feedback(service_id, tools)

    return hooks


def _call(service_id: str, tools: Tools) -> flask.Response:
    data, now = read_bytes(), tools.clock()
    service = _service(service_id)
    caller = tools.authenticate(flask.request.headers.get("Authorization"), f"/cds-services/{service_id}", now)
    require_json()
    with tools.gate:
        return _answer(data, service, caller, tools, now)


def _answer(data: bytes, service: Service, caller: Caller, tools: Tools, now: datetime) -> flask.Response:
    request = decode(HookRequest, data)
    envelope.check(request, service, use_id_not_hook=tools.settings.service.use_id_not_hook)
    how = presentation(tools, caller)
    said = _as_call(request, service, caller, tools, now)
    decision = decide_call(said, tools.site, how, telemetry.watch())
    withheld = said.context.get("userId", "").startswith(_NOT_CLINICIANS)
    if withheld:
        decision = replace(decision, cards=[])
    tools.store.remember_cards(audit.card_rows(decision, service.id, caller, now))
    audit.decided(decision, service.id, caller, withheld=withheld)
    return json_answer({"cards": [card.body for card in decision.cards]}, how.wording.language)


def _service(service_id: str) -> Service:
    service = BY_ID.get(service_id)
    if service is None:
        raise NotFound("there is no CDS service of this id", "$.id")
    structlog.contextvars.bind_contextvars(service=service.id)
    return service


def _as_call(request: HookRequest, service: Service, caller: Caller, tools: Tools, now: datetime) -> Call:
    raw = request.context or {}
    context = envelope.context(raw, service)
    return Call(
        hook=envelope.judged_as(request, service.hook),
        as_of=now,
        context=context,
        templates=service.prefetch,
        prefetch={key: bytes(value) for key, value in (request.prefetch or {}).items()},
        drafts=tuple(envelope.drafts(raw, service.hook)),
        selections=envelope.selections(raw, service.hook),
        aliases=caller.tenant.aliases,
        fetch=fetch_for(request, context.get("patientId", ""), caller, tools),
        fhir_server=request.fhirServer if isinstance(request.fhirServer, str) else "",
    )


def _feedback(service_id: str, tools: Tools) -> flask.Response:
    data, now = read_bytes(), tools.clock()
    service = _service(service_id)
    caller = tools.authenticate(flask.request.headers.get("Authorization"), f"/cds-services/{service_id}/feedback", now)
    require_json()
    items, rejected = parse_items(decode_object(data))
    report = tools.store.record_feedback(service.id, items, now)
    audit.reported(items, rejected, report, caller)
    answer = {"accepted": report.accepted, "duplicates": report.duplicates, "unknownCards": report.unknown_cards}
    if rejected:
        answer["rejected"] = [{"where": f"$.feedback[{r.index}]", "reason": r.reason} for r in rejected]  # type: ignore[assignment]
    return json_answer(answer)
