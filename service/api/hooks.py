"""The CDS Hooks endpoints: discovery, the services, feedback. Views that only translate."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import flask
import msgspec
import structlog

from service.api.answers import json_answer, presentation
from service.api.auth import Caller
from service.api.body import HookRequest, decode, decode_object, read_bytes, require_json, string
from service.api.tools import Tools
from service.cds.catalogue import BY_ID, CONTEXT_TOKENS, Service, discovery
from service.decide import Call, Decision, decide_call
from service.errors import BadRequest, DataNeeded, FhirReadFailed, UnknownThing
from service.fhir.client import Pages
from service.fhir.gather import Fetch
from service.fhir.wire import Resource, read_sheaf
from service.logic.knowledge import VERSION
from service.logic.model import Hook
from service.logic.rules.rule import ORDER_HOOKS
from service.store.feedback import parse_items
from service.store.store import CardRow

LOG = structlog.get_logger("audit")
_NOT_CLINICIANS = ("Patient/", "RelatedPerson/")
DRAFTS_MISSING = "not sent; check that the client's endpoint URI and its scopes for unsigned orders match"


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
    request = decode(HookRequest, data)
    _check(request, service, tools)
    context = _context(request.context or {}, service)
    how = presentation(tools, caller)
    started = time.monotonic()
    decision = decide_call(_as_call(request, service, context, caller, tools, now), tools.site, how)
    if context.get("userId", "").startswith(_NOT_CLINICIANS):
        return json_answer({"cards": []}, how.wording.language)
    _remember(decision, service, caller, tools, now, started)
    return json_answer({"cards": [card.body for card in decision.cards]}, how.wording.language)


def _service(service_id: str) -> Service:
    service = BY_ID.get(service_id)
    if service is None:
        raise UnknownThing("there is no CDS service of this id", "$.id")
    return service


def _check(request: HookRequest, service: Service, tools: Tools) -> None:
    """The envelope: hook, hookInstance, context."""
    if not isinstance(request.hook, str) or not request.hook:
        raise BadRequest("hook is required and must be a string", "$.hook")
    if request.hook != service.hook.value and not tools.settings.service.use_id_not_hook:
        raise BadRequest(f"this service answers the hook {service.hook.value}", "$.hook")
    if not isinstance(request.hookInstance, str) or not request.hookInstance:
        raise BadRequest("hookInstance is required and must be a UUID string", "$.hookInstance")
    if request.context is None:
        raise BadRequest("context is required and must be an object", "$.context")


def _context(raw: Mapping[str, msgspec.Raw], service: Service) -> dict[str, str]:
    """The string members of the context; BadRequest for a required one that is missing or of another type."""
    found = {name: value for name in CONTEXT_TOKENS if (value := string(raw, name))}
    for name, kind in service.context.items():
        if kind is str and name not in found:
            raise BadRequest(f"{name} is required and must be a string", f"$.context.{name}")
    return found


def _as_call(
    request: HookRequest, service: Service, context: dict[str, str], caller: Caller, tools: Tools, now: Any
) -> Call:
    raw = request.context or {}
    hook = service.hook
    drafts = _drafts(raw, hook)
    return Call(
        hook=hook,
        as_of=now,
        context=context,
        templates=service.prefetch,
        prefetch={key: bytes(value) for key, value in (request.prefetch or {}).items()},
        drafts=tuple(drafts),
        selections=_selections(raw, hook),
        aliases=caller.tenant.aliases,
        fetch=_fetch(request, caller, context, tools),
        fhir_server=request.fhirServer if isinstance(request.fhirServer, str) else "",
    )


def _drafts(raw: Mapping[str, msgspec.Raw], hook: Hook) -> list[Resource]:
    if hook not in ORDER_HOOKS:
        return []
    value = raw.get("draftOrders")
    if value is None or bytes(value) == b"null":
        raise DataNeeded({"draftOrders": DRAFTS_MISSING})
    sheaf = read_sheaf(bytes(value), "$.context.draftOrders")
    if not sheaf.is_bundle:
        raise BadRequest("draftOrders must be a Bundle", "$.context.draftOrders")
    return sheaf.resources


def _selections(raw: Mapping[str, msgspec.Raw], hook: Hook) -> tuple[str, ...]:
    if hook is not Hook.ORDER_SELECT:
        return ()
    value = raw.get("selections")
    try:
        listed = msgspec.json.decode(value, type=list[str]) if value is not None else None
    except msgspec.MsgspecError as error:
        raise BadRequest("selections must be an array of references", "$.context.selections") from error
    if listed is None:
        raise BadRequest("selections is required and must be an array", "$.context.selections")
    return tuple(listed)


def _fetch(request: HookRequest, caller: Caller, context: Mapping[str, str], tools: Tools) -> Fetch | None:
    """How to read from the FHIR server of this call; None when it is not allowed or nobody gave access."""
    base, access = request.fhirServer, request.fhirAuthorization
    if not isinstance(base, str) or not base:
        return None
    token = access.access_token if access is not None else None
    if tools.settings.authenticates and not isinstance(token, str):
        return None
    if access is not None and isinstance(access.patient, str) and access.patient != context.get("patientId"):
        LOG.warning("token-for-another-patient", tenant=caller.name)
        return None
    deadline = time.monotonic() + tools.settings.service.deadline_ms / 1000
    permitted = caller.tenant.allowed

    def fetch(queries: Mapping[str, str]) -> Mapping[str, Pages | FhirReadFailed]:
        bearer = token if isinstance(token, str) else None
        return tools.reader.read(base, bearer, queries, deadline, lambda url: permitted(url) is not None)

    return fetch


def _remember(decision: Decision, service: Service, caller: Caller, tools: Tools, now: Any, started: float) -> None:
    """Keep the cards for feedback, and write the one audit line of this decision. Nothing of the patient."""
    rows = [
        CardRow(
            uuid=card.body["uuid"],
            service=service.id,
            issued=now,
            rules=tuple(card.stated),
            indicator=card.body["indicator"],
            version=VERSION,
            tenant=caller.name,
            suggestions=tuple(s["uuid"] for s in card.body.get("suggestions", ())),
        )
        for card in decision.cards
    ]
    tools.store.remember_cards(rows)
    LOG.info(
        "decision",
        tenant=caller.name,
        service=service.id,
        rules=[rule for row in rows for rule in row.rules],
        indicators=[row.indicator for row in rows],
        failed=decision.failed_rules,
        states=decision.states,
        version=VERSION,
        ms=round(1000 * (time.monotonic() - started), 1),
    )


def _feedback(service_id: str, tools: Tools) -> flask.Response:
    data, now = read_bytes(), tools.clock()
    service = _service(service_id)
    caller = tools.authenticate(flask.request.headers.get("Authorization"), f"/cds-services/{service_id}/feedback", now)
    require_json()
    items, rejected = parse_items(decode_object(data))
    report = tools.store.record_feedback(service.id, items, now)
    LOG.info(
        "feedback", tenant=caller.name, service=service.id, new=report.accepted, duplicates=report.duplicates,
        unknown_cards=report.unknown_cards, rejected=[r.reason for r in rejected],
    )  # fmt: skip
    return json_answer(
        {
            "accepted": report.accepted,
            "duplicates": report.duplicates,
            "unknownCards": report.unknown_cards,
            "rejected": [{"where": f"$.feedback[{r.index}]", "reason": r.reason} for r in rejected],
        }
    )
