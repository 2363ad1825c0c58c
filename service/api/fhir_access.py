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
from service.fhir.client import Pages
from service.fhir.failure import ReadFailure
from service.fhir.prefetch import Fetch
from service.observability import metrics

LOG = structlog.get_logger(__name__)


def fetch_for(request: HookRequest, patient: str, caller: Caller, deps: Dependencies) -> Fetch | None:
    """How to read from the FHIR server of this call; None when nobody gave access to this patient."""
    base, access = optional_text(request.fhirServer, "$.fhirServer"), request.fhirAuthorization
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
            answers = reader.read(base, token, queries, deadline, lambda url: permitted(url) is not None, trace)
        for answer in answers.values():
            if failure := answer if isinstance(answer, ReadFailure) else answer.failure:
                metrics.count_fhir_failure(failure.kind)
        return answers

    return fetch


def _lifetime(request: HookRequest) -> float:
    """Seconds for which the token is good; without end where the client does not say, or says nonsense."""
    access = request.fhirAuthorization
    try:
        seconds = msgspec.json.decode(access.expires_in, type=float | None) if access else None
    except msgspec.MsgspecError:
        seconds = None
    return seconds if seconds and seconds > 0 else float("inf")
