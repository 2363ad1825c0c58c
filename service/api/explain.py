"""/explain: a decision and its reasons as a page, of a posted chart or, where nobody need be proved, of a sample."""

from __future__ import annotations

from dataclasses import replace

import flask
import msgspec

from service.api import audit, explanation
from service.api.auth.tokens import Caller
from service.api.dependencies import Dependencies
from service.api.evaluation import judged, judged_prefetch
from service.api.http.request_body import ExplainRequest, decode, require_json
from service.api.pages.page import Reader, page, page_for, reader
from service.api.proof import body_of
from service.errors import NotFound
from service.samples import expand, samples

CLOSED = "Here a chart is explained to readers of an EHR only: open it from there, or at /smart/launch (SMART)"


def blueprint(deps: Dependencies) -> flask.Blueprint:
    """The route /explain."""
    pages = flask.Blueprint("explain", __name__)

    @pages.get("/explain")
    def ask() -> flask.Response:
        """A page on which a chart is pasted or a sample chosen; with `sample`, its explanation."""
        if deps.settings.authenticates:
            raise NotFound(CLOSED)
        return _ask(deps)

    @pages.post("/explain")
    def answer() -> flask.Response:
        """The explanation of a posted chart."""
        data, caller = body_of(lambda: _reader(deps))
        require_json()
        with deps.gate:
            return _answer(decode(ExplainRequest, data), caller, deps)

    return pages


def _reader(deps: Dependencies) -> Caller:
    """Whose reader asks: by the token of the EHR whose FHIR server `iss` names."""
    sent = flask.request
    return deps.authenticate_reader(sent.headers.get("Authorization"), sent.args.get("iss", ""), deps.clock())


def _ask(deps: Dependencies) -> flask.Response:
    known, wanted = samples(), flask.request.args.get("sample")
    if wanted is None:
        return page("explain.html", deps.settings.service, samples=known.values())
    if wanted not in known:
        raise NotFound("There is no such sample; GET /samples lists them.", "$.sample")
    sent = msgspec.json.encode(expand(known[wanted], deps.clock()).request)
    request = decode(ExplainRequest, sent)
    request.language = reader(deps.settings.service).language
    with deps.gate:
        return _answer(request, Caller("development", deps.settings.development_tenant), deps)


def _answer(request: ExplainRequest, caller: Caller, deps: Dependencies) -> flask.Response:
    if request.prefetch is None:
        done = judged(request, caller, deps)
    else:
        sent = {key: bytes(value) for key, value in request.prefetch.items()}
        done = judged_prefetch(request, sent, caller, deps)
    audit.decided(replace(done.decision, cards=[]), "explain", caller)  # a card explained is no further card
    wording = done.how.wording
    who = Reader(wording, reader(deps.settings.service).root, wording.language)
    response = page_for(who, "explanation.html", **explanation.explanation(done))
    response.headers["Cache-Control"] = "no-store"
    return response
