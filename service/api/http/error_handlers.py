"""The one table from error class to status, and the one body shape of every error: a FHIR OperationOutcome."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import InvalidOperation
from typing import Any

import flask
import msgspec
import structlog
from werkzeug.exceptions import HTTPException

from service.api.http.responses import FHIR_JSON, JSON
from service.errors import (
    BadRequest,
    MagnesiumCdsError,
    MissingData,
    NotFound,
    Overloaded,
    StoreUnavailable,
    TooLarge,
    TooManyRequests,
    Unauthorised,
)

STORE_BACK_SECONDS = 5  # a database that fails over is rarely quicker
LOG = structlog.get_logger(__name__)

# Error class -> (HTTP status, FHIR issue type); the first class that fits counts.
_STATUS: tuple[tuple[type[MagnesiumCdsError], int, str], ...] = (
    (TooLarge, 413, "too-long"),
    (NotFound, 404, "not-found"),
    (BadRequest, 400, "invalid"),
    (MissingData, 412, "incomplete"),
    (Unauthorised, 401, "login"),
    (TooManyRequests, 429, "throttled"),
    (Overloaded, 503, "transient"),
    (StoreUnavailable, 503, "transient"),
)
_TYPES = {
    400: "invalid",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    406: "not-supported",
    408: "timeout",
    413: "too-long",
    415: "not-supported",
    429: "throttled",
}


def issue(code: str, text: str, where: str = "", severity: str = "error") -> dict[str, Any]:
    """One issue of an OperationOutcome; `where` is a JSON path."""
    found: dict[str, Any] = {"severity": severity, "code": code, "details": {"text": text}}
    return found | {"expression": [where]} if where else found


def outcome(status: int, issues: Iterable[dict[str, Any]], headers: dict[str, str] | None = None) -> flask.Response:
    """An OperationOutcome as the answer."""
    body = msgspec.json.encode({"resourceType": "OperationOutcome", "issue": list(issues)})
    response = flask.Response(body, status, mimetype=FHIR_JSON if flask.request.path.startswith("/fhir/") else JSON)
    response.headers.update(headers or {})
    return response


def handle_service_error(error: MagnesiumCdsError) -> flask.Response:
    """A deliberate error as its answer."""
    status, code = next(((s, c) for kind, s, c in _STATUS if isinstance(error, kind)), (500, "exception"))
    if isinstance(error, Unauthorised):
        _refused(error, status, reason=str(error))
        return outcome(status, [issue(code, "A valid bearer token is required.")], {"WWW-Authenticate": "Bearer"})
    if isinstance(error, MissingData):
        _refused(error, status, missing=sorted(map(str, error.missing)))  # a plain str: see `Key`
        return outcome(status, [issue(code, f"{key}: {why}.", _place(key)) for key, why in error.missing.items()])
    _refused(error, status)
    return outcome(
        status, [issue(code, str(error), error.where if isinstance(error, BadRequest) else "")], _when(error)
    )


def _when(error: MagnesiumCdsError) -> dict[str, str]:
    """When to try again, where that helps."""
    if isinstance(error, TooManyRequests | Overloaded):
        return {"Retry-After": str(error.retry_after)}
    return {"Retry-After": str(STORE_BACK_SECONDS)} if isinstance(error, StoreUnavailable) else {}


def _place(missing: str) -> str:
    return "$.context.draftOrders" if missing == "draftOrders" else f"$.prefetch.{missing}"


def _refused(error: Exception, status: int, **more: object) -> None:
    """The line in the log of a call that was not answered: by its kind, since messages speak of the request."""
    LOG.warning("refused", status=status, kind=type(error).__name__, route=flask.request.endpoint, **more)


def http(error: HTTPException) -> flask.Response:
    """An HTTP error of the framework (404, 405, 413, 415 …) in our shape, its headers kept."""
    status = error.code or 500
    _refused(error, status)
    headers = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
    return outcome(status, [issue(_TYPES.get(status, "processing"), _words(error) + ".")], headers)


def _words(error: HTTPException) -> str:
    """Our own words where we raised it with some, else ours for the status: the framework's may quote the request."""
    ours = error.code in {403, 406, 415} and error.description != type(error).description
    return str(error.description) if ours else _WORDS.get(error.code or 500, error.name)


_WORDS = {
    404: "There is nothing at this path",
    405: "The method is not allowed here",
    408: "The body did not arrive in time",
    413: "The body is too large",
}


def unreadable(error: Exception) -> flask.Response:
    """A value deep in the body that no decoder can hold (a number of a thousand digits); found when it was needed."""
    _refused(error, 400)
    return outcome(
        400, [issue("invalid", "The body holds a value that cannot be read as JSON, such as a huge number.")]
    )


def unexpected(error: Exception) -> flask.Response:
    """A fault of ours: logged by kind and place, without its message, which may quote patient data; never shown."""
    LOG.error("unexpected", exc_info=error)
    return outcome(500, [issue("exception", "An internal error occurred; nothing was judged.")])


def register(app: flask.Flask) -> None:
    """Every error of the app becomes an OperationOutcome."""
    app.register_error_handler(MagnesiumCdsError, handle_service_error)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(msgspec.MsgspecError, unreadable)
    app.register_error_handler(InvalidOperation, unreadable)
    app.register_error_handler(Exception, unexpected)
