"""The REST API: a posted Bundle evaluated, the knowledge to browse, feedback in numbers. Views that only translate."""

from __future__ import annotations

import flask

from service.api import batch, feedback, governance, knowledge
from service.api.auth.tokens import Caller
from service.api.calculations import CALCULATIONS
from service.api.dependencies import Dependencies
from service.api.evaluation import Evaluation, evaluated
from service.api.http.request_body import (
    CALCULATION_BYTES,
    decode_object,
    read_bytes,
    require_json,
)
from service.api.http.responses import json_answer, picture_answer
from service.api.proof import proved_body
from service.errors import NotFound


def blueprint(deps: Dependencies) -> flask.Blueprint:
    """The routes under /v1."""
    rest = flask.Blueprint("rest", __name__, url_prefix="/v1")

    @rest.post("/evaluate")
    def evaluate() -> flask.Response:
        """The same decision as the hooks, on a posted Bundle, at a chosen moment."""
        return _evaluate(deps)

    @rest.post("/evaluate/batch", endpoint="batch")
    def evaluate_batch() -> flask.Response:
        """Many patients: a body of /v1/evaluate a line, and an answer a line."""
        return batch.answered(deps)

    @rest.post("/calculations/<name>")
    def calculate(name: str) -> flask.Response:
        """One formula alone."""
        return _calculate(name, deps)

    knowledge.browse(rest, deps)
    governance.govern(rest, deps)

    @rest.get("/feedback/summary")
    def feedback_summary() -> flask.Response:
        """Shown, accepted and overridden cards per rule, version and week."""
        return feedback.summary(_authenticated("/v1/feedback/summary", deps), deps)

    return rest


def _authenticated(path: str, deps: Dependencies) -> Caller:
    return deps.authenticate(flask.request.headers.get("Authorization"), path, deps.clock())


# ---- evaluate, calculations -----------------------------------------------------------------------------------------


def _evaluate(deps: Dependencies) -> flask.Response:
    data, caller = proved_body(deps, "/v1/evaluate", deps.clock())
    require_json()
    with deps.gate:
        done = evaluated(data, caller, deps)
        return _answered(done)


def _answered(done: Evaluation) -> flask.Response:
    """The decision as JSON, or its timeline alone, as the caller prefers."""
    language = done.how.wording.language
    if flask.request.accept_mimetypes.best_match(["application/json", "image/svg+xml"]) == "image/svg+xml":
        return picture_answer(done.timeline().alone, language)
    answer = json_answer(done.explained(), language)
    answer.headers["Vary"] = "Accept, Accept-Language"
    return answer


def _calculate(name: str, deps: Dependencies) -> flask.Response:
    data = read_bytes(CALCULATION_BYTES)
    calculation = CALCULATIONS.get(name)
    if calculation is None:
        raise NotFound(f"calculations are {', '.join(CALCULATIONS)}", "$.name")
    require_json()
    return json_answer(calculation(decode_object(data), deps.site.knowledge))
