"""Access to the FHIR server of one call: whether it may be read at all, with which token, and until when."""

from __future__ import annotations

import time
from collections.abc import Mapping

import msgspec
import structlog

from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.http.instrumentation import stopwatch, traceparent
from service.api.http.request_body import HookRequest, as_text, optional_text
from service.errors import BadRequest
from service.fhir.client import Pages
from service.fhir.failure import FailureKind, ReadFailure
from service.fhir.prefetch import Fetch
from service.observability import metrics

LOG = structlog.get_logger(__name__)


def fetch_for(request: HookRequest, patient: str, caller: Caller, deps: Dependencies) -> Fetch | None:
    """How to read from the FHIR server of this call; None when nobody gave access to this patient."""
    base, access = fhir_base(request), request.fhirAuthorization
    if not base:
        return None
    token = (as_text(access.access_token) or None) if access else None
    if deps.settings.authenticates and not token:
        return None
    granted = as_text(access.patient).removeprefix("Patient/") if access else ""
    if granted and granted != patient:
        LOG.warning("token for another patient: not used", tenant=caller.name)
        return None
    allowed = deps.settings.service.deadline_ms / 1000 - stopwatch().total()  # waiting for a turn counts
    deadline = time.monotonic() + min(allowed, _lifetime(request))
    reader, permitted, trace = deps.readers[caller.tenant.fhir_networks], caller.tenant.allowed, traceparent()

    def fetch(queries: Mapping[str, str]) -> Mapping[str, Pages | ReadFailure]:
        with deps.gate.released():
            if not_fhir := None if deps.settings.authenticates else _not_fhir(base, deadline, caller, deps):
                return dict.fromkeys(queries, not_fhir)
            answers = reader.read(base, token, queries, deadline, lambda url: permitted(url) is not None, trace)
        for answer in answers.values():
            if failure := answer if isinstance(answer, ReadFailure) else answer.failure:
                metrics.count_fhir_failure(failure.kind)
        return answers

    return fetch


def fhir_base(request: HookRequest) -> str:
    """`fhirServer`, "" where it was not sent; BadRequest for what is no base of addresses."""
    base = optional_text(request.fhirServer, "$.fhirServer") or ""
    if "?" in base or "#" in base:
        raise BadRequest("fhirServer is a base URL, without a query or a fragment", "$.fhirServer")
    return base


def _not_fhir(base: str, deadline: float, caller: Caller, deps: Dependencies) -> ReadFailure | None:
    """None for a server that says that it is one of FHIR; remembered. Any service of this machine could be named.

    Source: FHIR R4, RESTful API, capabilities: `GET [base]/metadata` needs no token.
    """
    if base in deps.fhir_servers:
        return None
    reader, allowed = deps.readers[caller.tenant.fhir_networks], caller.tenant.allowed
    queries = {"metadata": "metadata"}
    found = reader.read(base, None, queries, deadline, lambda url: allowed(url) is not None)["metadata"]
    if isinstance(found, ReadFailure):
        return found
    if not any(map(_is_capability_statement, found.bodies)):
        return ReadFailure(FailureKind.NOT_ALLOWED)
    deps.fhir_servers.add(base)
    return None


class _Head(msgspec.Struct):
    resourceType: str = ""  # noqa: N815  FHIR's own name


def _is_capability_statement(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_Head).resourceType == "CapabilityStatement"
    except msgspec.MsgspecError:
        return False


def _lifetime(request: HookRequest) -> float:
    """Seconds for which the token is good; without end where the client does not say, or says nonsense."""
    access = request.fhirAuthorization
    try:
        seconds = msgspec.json.decode(access.expires_in, type=float | None) if access else None
    except msgspec.MsgspecError:
        seconds = None
    return seconds if seconds and seconds > 0 else float("inf")
