"""JSON answers, and the headers of every answer."""

from __future__ import annotations

from typing import Any

import flask
import msgspec

JSON, FHIR_JSON = "application/json", "application/fhir+json"
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def encode(body: Any) -> bytes:
    """JSON in which a decimal is a number with its own digits."""
    return _ENCODER.encode(body)


def json_answer(body: Any, language: str = "", status: int = 200, mimetype: str = JSON) -> flask.Response:
    """A JSON answer; `language` states the language of its sentences."""
    response = flask.Response(encode(body), status, mimetype=mimetype)
    if language:
        response.headers["Content-Language"] = language
        response.headers["Vary"] = "Accept-Language"
    return response


def picture_answer(svg: str, language: str) -> flask.Response:
    """A picture as a file of its own, that may style itself and do nothing else."""
    response = flask.Response(svg, mimetype="image/svg+xml")
    response.headers["Content-Language"] = language
    response.headers["Vary"] = "Accept, Accept-Language"
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return response


def security_headers(app: flask.Flask) -> None:
    """Headers of every answer: no guessing of types, no referrer, and what may be about a patient is kept nowhere."""

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        sensitive = flask.request.method == "POST" or "Authorization" in flask.request.headers
        if sensitive or response.status_code >= 400:
            response.headers["Cache-Control"] = "no-store"
        return response
