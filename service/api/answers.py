"""JSON answers and the language of a call."""

from __future__ import annotations

from typing import Any

import flask
import msgspec

from service.api.auth import Caller
from service.api.tools import Tools
from service.cds.cards import Presentation
from service.cds.wording import Wording, negotiate

_ENCODER = msgspec.json.Encoder(decimal_format="number")


def json_answer(body: Any, language: str = "", status: int = 200) -> flask.Response:
    """A JSON answer; `language` states the language of its sentences."""
    response = flask.Response(_ENCODER.encode(body), status, mimetype="application/json")
    if language:
        response.headers["Content-Language"] = language
        response.headers["Vary"] = "Accept-Language"
    return response


def protect(app: flask.Flask) -> None:
    """Headers of every answer: no guessing of types, no referrer, and what may be about a patient is kept nowhere."""

    @app.after_request
    def add_headers(response: flask.Response) -> flask.Response:
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        sensitive = flask.request.method == "POST" or "Authorization" in flask.request.headers
        if sensitive or response.status_code >= 400:
            response.headers["Cache-Control"] = "no-store"
        return response


def presentation(tools: Tools, caller: Caller, language: str = "") -> Presentation:
    """How cards are written for this call: the caller's order codes, the reader's language."""
    site = tools.settings.service
    default = caller.tenant.language or site.language
    chosen = language or negotiate(flask.request.headers.get("Accept-Language", ""), default)
    public = next((url for url in site.public_urls if url.startswith("https://")), "")
    return Presentation(
        wording=Wording(chosen, site.zone),
        local_orders=caller.tenant.orders,
        base_url=public,
        rules_off=tools.rules_off,
        silent=tools.silent,
    )
