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
from service.api.pages.page import PAGE_HEADERS
from service.api.proof import proved_body
from service.errors import NotFound, Unauthorised
from service.samples import expand, samples

CLOSED = "In production a chart is explained to an EHR's own reader only, and no EHR is configured for SMART here"


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
        if deps.settings.authenticates:
            raise Unauthorised("no EHR is configured for SMART")
        data, caller = proved_body(deps, "/explain", deps.clock())
        require_json()
        with deps.gate:
            return _answer(decode(ExplainRequest, data), caller, deps)

    @pages.after_request
    def protect(response: flask.Response) -> flask.Response:
        response.headers.update(PAGE_HEADERS)
        return response

    return pages


def _ask(deps: Dependencies) -> flask.Response:
    known, wanted = samples(), flask.request.args.get("sample")
    if wanted is None:
        page = explanation.template("explain.html").render(samples=known.values(), base="")
        return flask.Response(page, mimetype="text/html")
    if wanted not in known:
        raise NotFound("There is no such sample; GET /samples lists them.", "$.sample")
    sent = msgspec.json.encode(expand(known[wanted], deps.clock()).request)
    with deps.gate:
        return _answer(decode(ExplainRequest, sent), Caller("development", deps.settings.development_tenant), deps)


def _answer(request: ExplainRequest, caller: Caller, deps: Dependencies) -> flask.Response:
    if request.prefetch is None:
        done = judged(request, caller, deps)
    else:
        sent = {key: bytes(value) for key, value in request.prefetch.items()}
        done = judged_prefetch(request, sent, caller, deps)
    audit.decided(replace(done.decision, cards=[]), "explain", caller)  # a card explained is no further card
    page = explanation.rendered(done.decision, done.site.knowledge, done.how)
    response = flask.Response(page, mimetype="text/html")
    response.headers["Content-Language"] = done.how.wording.language
    response.headers["Cache-Control"] = "no-store"
    response.headers["Vary"] = "Accept-Language"
    return response
